//! Which program an interpreter runs: `python3 orders_api.py`, `java -jar shop.jar`. Three
//! services of one host that are all called python3 are three owners, not one.
//!
//! In: the command line as /proc/PID/cmdline has it, the name of the process and its executable.
//! Out: a short label, or nothing where it would tell no more than the name does. Pure. It has
//! the file's name only, never what follows `-c` or `-e`, and no argument of the program (but for
//! the application that a server of Python is given): passwords stand there. Where it is not
//! certain which word is the program there is no label. Words are any bytes a process likes: the
//! label is bounded here and escaped where it is printed, as a name is.
//!
//! A process may have written over its command line: it is one string then, without a NUL. That
//! is text that changes as the process goes on (`postgres: app db 10.0.0.1(5123) idle`), which
//! would make another owner of it each time, and has names of users, addresses and queries in
//! it; the kernel's name has its beginning mostly. So it makes no label, but for a few forms
//! that name the application and stay ([`title`]), and those that look like a command.

use Kind::{Code, Colon, File, Glued, Letter, Name, Program, Skip, Value};

use crate::filter::is_named;
use crate::text::Text;

/// Bytes of a label.
const MOST: usize = 64;

/// How an interpreter reads the words before its program.
struct Interpreter {
    /// What it is called, but for a version at the end.
    names: &'static [&'static str],
    /// Letters stand together in one word (`-Bum http.server`), and values may follow them.
    letters: bool,
    /// Options that are more than a switch.
    options: &'static [(&'static str, Kind)],
}

/// What an option is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Its value is what remains of the word, or else the next.
    Value,
    /// Its value, if any, is what remains of the word.
    Glued,
    /// Its value, if any, is what remains of the word behind a `:` or `=`; else letters go on.
    Colon,
    /// Its value, if any, is the next letter; then letters go on.
    Letter,
    /// The program is what it has as its value, or it comes from elsewhere: that is not told.
    Code,
    /// Its value names the program.
    Name,
    /// Its value is the file of the program.
    File,
    /// The program is a file of this kind, and comes when the options are over.
    Program,
    /// A word that is none of an option, and not the program.
    Skip,
}

const INTERPRETERS: &[Interpreter] = &[
    Interpreter {
        names: &["python", "pypy"],
        letters: true,
        options: &[
            ("-c", Code),
            ("-m", Name),
            ("-W", Value),
            ("-X", Value),
            ("--check-hash-based-pycs", Value),
        ],
    },
    Interpreter {
        names: &["java"],
        letters: false,
        options: &[
            ("-jar", Program),
            ("-m", Name),
            ("--module", Name),
            ("-cp", Value),
            ("-classpath", Value),
            ("--class-path", Value),
            ("-p", Value),
            ("--module-path", Value),
            ("--upgrade-module-path", Value),
            ("--add-modules", Value),
            ("--add-exports", Value),
            ("--add-opens", Value),
            ("--add-reads", Value),
            ("--limit-modules", Value),
            ("--patch-module", Value),
            ("--enable-native-access", Value),
            ("--source", Value),
            ("-d", Value),
            ("--describe-module", Value),
        ],
    },
    Interpreter {
        names: &["node", "nodejs"],
        letters: false,
        options: &[
            ("-e", Code),
            ("--eval", Code),
            ("-p", Code),
            ("-pe", Code),
            ("--print", Code),
            ("--run", Name),
            ("-r", Value),
            ("--require", Value),
            ("--import", Value),
            ("--loader", Value),
            ("--experimental-loader", Value),
            ("-C", Value),
            ("--conditions", Value),
            ("--env-file", Value),
            ("--env-file-if-exists", Value),
            ("--experimental-config-file", Value),
            ("--input-type", Value),
            ("--experimental-default-type", Value),
            ("--es-module-specifier-resolution", Value),
            ("--title", Value),
            ("--inspect-port", Value),
            ("--debug-port", Value),
            ("--inspect-publish-uid", Value),
            ("--icu-data-dir", Value),
            ("--openssl-config", Value),
            ("--tls-cipher-list", Value),
            ("--tls-keylog", Value),
            ("--dns-result-order", Value),
            ("--disable-proto", Value),
            ("--disable-warning", Value),
            ("--redirect-warnings", Value),
            ("--unhandled-rejections", Value),
            ("--max-http-header-size", Value),
            ("--secure-heap", Value),
            ("--secure-heap-min", Value),
            ("--v8-pool-size", Value),
            ("--allow-fs-read", Value),
            ("--allow-fs-write", Value),
            ("--trace-event-categories", Value),
            ("--trace-event-file-pattern", Value),
            ("--diagnostic-dir", Value),
            ("--heapsnapshot-signal", Value),
            ("--heapsnapshot-near-heap-limit", Value),
            ("--report-dir", Value),
            ("--report-directory", Value),
            ("--report-filename", Value),
            ("--report-signal", Value),
            ("--cpu-prof-dir", Value),
            ("--cpu-prof-name", Value),
            ("--cpu-prof-interval", Value),
            ("--heap-prof-dir", Value),
            ("--heap-prof-name", Value),
            ("--heap-prof-interval", Value),
            ("--localstorage-file", Value),
            ("--test-concurrency", Value),
            ("--test-name-pattern", Value),
            ("--test-reporter", Value),
            ("--test-reporter-destination", Value),
            ("--test-shard", Value),
            ("--test-timeout", Value),
            ("--watch-path", Value),
        ],
    },
    Interpreter {
        names: &["ruby"],
        letters: true,
        options: &[
            ("-e", Code),
            ("-C", Value),
            ("-X", Value),
            ("-E", Value),
            ("-I", Value),
            ("-r", Value),
            ("-F", Glued),
            ("-K", Letter),
            // Digits may follow; they are no options.
            ("-W", Colon),
            ("-i", Glued),
            ("-x", Glued),
            ("--encoding", Value),
            ("--external-encoding", Value),
            ("--internal-encoding", Value),
            ("--enable", Value),
            ("--disable", Value),
            ("--dump", Value),
        ],
    },
    Interpreter {
        names: &["perl"],
        letters: true,
        options: &[
            ("-e", Code),
            ("-E", Code),
            ("-I", Value),
            ("-C", Glued),
            ("-D", Glued),
            ("-F", Glued),
            ("-M", Glued),
            ("-V", Colon),
            ("-d", Colon),
            ("-i", Glued),
            ("-m", Glued),
            ("-x", Glued),
        ],
    },
    Interpreter {
        names: &["php"],
        letters: true,
        options: &[
            ("-r", Code),
            ("-B", Code),
            ("-R", Code),
            ("-E", Code),
            ("-S", Code),
            ("-f", File),
            ("-F", File),
            ("-c", Value),
            ("-d", Value),
            ("-t", Value),
            ("-z", Value),
            ("--run", Code),
            ("--process-begin", Code),
            ("--process-code", Code),
            ("--process-end", Code),
            ("--process-file", File),
            ("--server", Code),
            ("--file", File),
            ("--php-ini", Value),
            ("--define", Value),
            ("--docroot", Value),
        ],
    },
    Interpreter {
        names: &["dotnet"],
        letters: false,
        options: &[
            ("exec", Skip),
            ("--additionalprobingpath", Value),
            ("--additional-deps", Value),
            ("--depsfile", Value),
            ("--fx-version", Value),
            ("--roll-forward", Value),
            ("--runtimeconfig", Value),
        ],
    },
    // Of a shell that reads commands from its input the first argument is none of a file.
    Interpreter {
        names: &["bash"],
        letters: true,
        options: &[
            ("-c", Code),
            ("-s", Code),
            ("-o", Value),
            ("-O", Value),
            ("+o", Value),
            ("+O", Value),
            ("--rcfile", Value),
            ("--init-file", Value),
        ],
    },
    Interpreter {
        names: &["sh", "dash", "ash", "ksh", "mksh", "zsh"],
        letters: true,
        options: &[("-c", Code), ("-s", Code), ("-o", Value), ("+o", Value), ("--emulate", Value)],
    },
];

/// Servers of Python that run an application which is given as `module:attribute`.
const RUNNERS: &[&str] = &["gunicorn", "uvicorn", "hypercorn", "daphne", "granian"];

/// What the process called `comm` runs, as far as its name does not tell; of `line` only whole
/// words may be left where it was cut.
pub(super) fn label(line: &str, comm: &str, exe: Option<&str>) -> Option<Text> {
    let line = line.trim_end_matches('\0');
    // Separated by blanks is what a process has written itself: a title.
    let by = if line.contains('\0') { '\0' } else { ' ' };
    let title = if by == ' ' { title(line) } else { None };
    // In a title that looks like a command the interpreter is the first word.
    let others = if by == ' ' { [None, None] } else { [Some(comm), exe] };
    let label = title.or_else(|| command(line.split(by), comm, others))?;
    (label != comm).then(|| bounded(label).into())
}

/// The titles that name an application which stays the same, and each worker's is: gunicorn's
/// (`gunicorn: worker [shop.wsgi:app]`), Puma's (`puma: cluster worker 0: 88 [shop]`) and
/// php-fpm's (`php-fpm: pool www`).
fn title(line: &str) -> Option<String> {
    if let Some(pool) = line.strip_prefix("php-fpm: pool ") {
        return Some(format!("php-fpm pool {pool}"));
    }
    let name = ["gunicorn", "puma"].into_iter().find(|name| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(": ") || rest.starts_with(' '))
    })?;
    let (_, app) = line.strip_suffix(']')?.rsplit_once('[')?;
    Some(format!("{name} {app}"))
}

/// An interpreter and what it runs. It may be called by another name than it has in the
/// command line: by the kernel's, or that of its file.
fn command<'a>(
    mut words: impl Iterator<Item = &'a str>,
    comm: &str,
    [kernel, exe]: [Option<&str>; 2],
) -> Option<String> {
    // A login shell's begins with a dash.
    let first = file_name(words.next()?).trim_start_matches('-');
    let exe = exe.map(|exe| file_name(exe.strip_suffix(" (deleted)").unwrap_or(exe)));
    let names = [kernel, Some(first), exe];
    let (name, interpreter) =
        names.into_iter().flatten().find_map(|name| Some((name, Interpreter::called(name)?)))?;
    let Runs { before, program } = interpreter.runs(&mut words)?;
    let application = if RUNNERS.contains(&program) { application(words) } else { None };
    let application = application.map_or(String::new(), |application| format!(" {application}"));
    // A script that was executed itself has its own name, as far as the kernel keeps it.
    if before.is_empty() && !comm.is_empty() && is_named(comm, program) {
        return Some(format!("{program}{application}"));
    }
    Some(format!("{name} {before}{program}{application}"))
}

/// What comes behind an interpreter's name.
struct Runs<'a> {
    /// `-m `, `-jar ` or nothing.
    before: String,
    /// Or `-c` and the like, where it is not a name.
    program: &'a str,
}

impl Interpreter {
    fn called(name: &str) -> Option<&'static Self> {
        let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
        INTERPRETERS.iter().find(|interpreter| interpreter.names.contains(&name))
    }

    fn is_shell(&self) -> bool {
        self.names.contains(&"bash") || self.names.contains(&"sh")
    }

    /// Words behind `--` are arguments, and the program comes from the input.
    fn is_php(&self) -> bool {
        self.names.contains(&"php")
    }

    /// The program among the words behind the interpreter; those behind it are left.
    fn runs<'a>(&self, words: &mut impl Iterator<Item = &'a str>) -> Option<Runs<'a>> {
        let mut before = String::new();
        while let Some(word) = words.next() {
            let (option, kind, value) = match self.option(word) {
                Step::Switch => continue,
                Step::Program => return Some(Runs { before, program: file_name(word) }),
                Step::Last if self.is_php() => return None,
                Step::Last => return Some(Runs { before, program: file_name(words.next()?) }),
                Step::Doubt => return None,
                Step::Has(option, kind, value) => (option, kind, value),
            };
            match (kind, value) {
                (Value, None) => _ = words.next()?,
                (Value, Some(_)) | (Glued | Colon | Letter | Skip, _) => {}
                (Code, _) => return Some(Runs { before: String::new(), program: option }),
                (Program, _) => before = format!("{option} "),
                (Name | File, value) => {
                    let program = match value {
                        Some(value) => value,
                        None => words.next()?,
                    };
                    // The name of a module has no path.
                    let program = if kind == File { file_name(program) } else { program };
                    let before = if kind == File { String::new() } else { format!("{option} ") };
                    return Some(Runs { before, program });
                }
            }
        }
        None
    }

    /// What a word is, among those before the program.
    fn option<'a>(&self, word: &'a str) -> Step<'a> {
        let kind_of = |option: &str| {
            self.options.iter().find(|(name, _)| *name == option).map(|&(name, kind)| (name, kind))
        };
        if let Some((option, kind)) = kind_of(word) {
            return Step::Has(option, kind, None);
        }
        match word {
            "--" => return Step::Last,
            // The options of a shell are over then; others read their program from their input.
            "-" => return if self.is_shell() { Step::Last } else { Step::Program },
            // Java's file of arguments.
            _ if word.starts_with('@') && self.names.contains(&"java") => return Step::Switch,
            "" => return Step::Switch,
            _ => {}
        }
        let sign = match word.chars().next() {
            Some('-') => '-',
            Some('+') if self.is_shell() => '+',
            _ => return Step::Program,
        };
        if word.starts_with("--") || !self.letters {
            let with_value = word.split_once('=').and_then(|(option, value)| Some((kind_of(option)?, value)));
            return match with_value {
                Some(((option, kind), value)) => Step::Has(option, kind, Some(value)),
                None => Step::Switch,
            };
        }
        if self.is_shell() {
            return self.shell_letters(sign, &word[1..]);
        }
        let mut letters = word.char_indices().skip(1);
        while let Some((at, letter)) = letters.next() {
            let Some((option, kind)) = kind_of(&format!("{sign}{letter}")) else { continue };
            let rest = &word[at + letter.len_utf8()..];
            match kind {
                Letter => _ = letters.next(),
                Colon if !rest.starts_with([':', '=']) => {}
                // Perl reads letters again behind a blank, and `-0xff` is a number of it.
                Glued if rest.contains(char::is_whitespace) => return Step::Doubt,
                Glued if letter == 'x' && word[..at].ends_with('0') => return Step::Doubt,
                _ => return Step::Has(option, kind, (!rest.is_empty()).then_some(rest)),
            }
        }
        Step::Switch
    }

    /// What a shell's letters are. Whether `-c` comes first or last among them, the code is in
    /// another word.
    fn shell_letters<'a>(&self, sign: char, letters: &str) -> Step<'a> {
        for (code, letter) in [("-c", 'c'), ("-s", 's')] {
            if letters.contains(letter) {
                return Step::Has(code, Code, None);
            }
        }
        let Some(at) = letters.find(['o', 'O']) else { return Step::Switch };
        let named = format!("{sign}{}", &letters[at..]);
        match self.options.iter().find(|(name, _)| *name == named) {
            Some(&(option, kind)) => Step::Has(option, kind, None),
            // Behind `-o` some read more letters, others its value; `-O` has one in bash only.
            None => Step::Doubt,
        }
    }
}

/// What a word is.
enum Step<'a> {
    /// It says how the program is run.
    Switch,
    /// An option, and the value that is in the same word.
    Has(&'static str, Kind, Option<&'a str>),
    /// The next word is the program.
    Last,
    /// It is the program.
    Program,
    /// What the next words are is not certain.
    Doubt,
}

/// `shop.wsgi:app` among the arguments of a server of Python: two names, which are no value of
/// an option.
fn application<'a>(words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let is_name = |name: &str| {
        let of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(of_name)
    };
    let mut is_value = false;
    for word in words {
        let is_option = word.starts_with('-');
        let names = word.split_once(':').filter(|_| !is_option && !is_value);
        if names.is_some_and(|(module, attribute)| is_name(module) && is_name(attribute)) {
            return Some(word);
        }
        is_value = is_option && !word.contains('=');
    }
    None
}

/// The last part of a path.
fn file_name(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    path.rsplit('/').next().unwrap_or(path)
}

/// The middle gives way: what a file or a class is called is at the end.
fn bounded(label: String) -> String {
    const CUT: &str = "…";
    if label.len() <= MOST {
        return label;
    }
    let kept = (MOST - CUT.len()) / 2;
    let (head, tail) = (label.floor_char_boundary(kept), label.ceil_char_boundary(label.len() - kept));
    format!("{}{CUT}{}", &label[..head], &label[tail..])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The label of words and a name. The executable is what an interpreter's usually is.
    fn of(words: &[&str], comm: &str) -> Option<String> {
        label(&(words.join("\0") + "\0"), comm, Some("/usr/lib/x/bin/x")).map(String::from)
    }

    /// Words as in a shell, without quotes; the name is that of the first.
    fn told(words: &str) -> Option<String> {
        let words: Vec<_> = words.split(' ').collect();
        of(&words, &file_name(words[0])[..file_name(words[0]).len().min(15)])
    }

    #[test]
    fn an_interpreter_is_told_with_its_program() {
        for (words, label) in [
            ("/usr/bin/python3 /srv/orders_api.py --db secret", "python3 orders_api.py"),
            ("python3.11 orders_api.py", "python3.11 orders_api.py"),
            ("/srv/venv/bin/python -m http.server 8080", "python -m http.server"),
            ("python3 -u -W ignore -X dev orders.py", "python3 orders.py"),
            ("python3 -Wignore -Xdev orders.py", "python3 orders.py"),
            ("python3 -Bum http.server", "python3 -m http.server"),
            ("python3 -mhttp.server", "python3 -m http.server"),
            ("python3 --check-hash-based-pycs never -I orders.py", "python3 orders.py"),
            ("python3 -c import_secret", "python3 -c"),
            ("python3 -Icimport_secret x.py", "python3 -c"),
            ("python3 - secret", "python3 -"),
            ("python3 /srv/app/", "python3 app"),
            ("pypy3 orders.py", "pypy3 orders.py"),
            (
                "python3 /usr/bin/gunicorn -b unix:app.sock -w 4 shop.wsgi:app",
                "python3 gunicorn shop.wsgi:app",
            ),
            ("python3 -m uvicorn --host 127.0.0.1 shop:app", "python3 -m uvicorn shop:app"),
            ("python3 -m uvicorn --header token:secret", "python3 -m uvicorn"),
            ("java -jar /opt/shop.jar --token secret", "java -jar shop.jar"),
            ("java -jar -Xmx1g shop.jar", "java -jar shop.jar"),
            ("/usr/lib/jvm/bin/java -Xmx1g -cp a.jar:b.jar -Dx=secret com.shop.Main x", "java com.shop.Main"),
            ("java @/etc/jvm.args -javaagent:/a.jar=x com.shop.Main", "java com.shop.Main"),
            (
                "java -p mods --add-opens java.base/java.lang=ALL-UNNAMED -m shop/com.shop.Main",
                "java -m shop/com.shop.Main",
            ),
            ("java --module=shop/com.shop.Main", "java --module shop/com.shop.Main"),
            ("java --class-path=a.jar com.shop.Main", "java com.shop.Main"),
            ("java --source 17 /srv/Main.java", "java Main.java"),
            ("node --require ./trace.js --inspect=0 /srv/server.js", "node server.js"),
            ("node -r dotenv/config --max-old-space-size=4096 server.js", "node server.js"),
            ("node --import=./a.mjs --env-file .env server.js", "node server.js"),
            ("nodejs -pe secret", "nodejs -pe"),
            ("node --eval=secret", "node --eval"),
            ("node --run start", "node --run start"),
            ("ruby -W0 -rbundler/setup -I lib -C /srv app.rb", "ruby app.rb"),
            ("ruby3.1 -ne secret app.rb", "ruby3.1 -e"),
            ("ruby -Kue secret", "ruby -e"),
            ("ruby -W0e secret", "ruby -e"),
            ("ruby -We secret", "ruby -e"),
            ("ruby -T1e secret", "ruby -e"),
            ("ruby -Ke -W:no-deprecated -X /srv app.rb", "ruby app.rb"),
            ("ruby -S rackup", "ruby rackup"),
            ("perl -w -Ilib -I t -MCarp=verbose -0777 x.pl", "perl x.pl"),
            ("perl -de secret", "perl -e"),
            ("perl -dte secret", "perl -e"),
            ("perl -Ve secret", "perl -e"),
            ("perl -wd:NYTProf=file=e x.pl", "perl x.pl"),
            ("perl -lane secret", "perl -e"),
            ("perl -i.bak -pe secret", "perl -e"),
            ("/bin/bash /opt/deploy.sh --password secret", "bash deploy.sh"),
            ("bash -euo pipefail +x -O extglob deploy.sh", "bash deploy.sh"),
            ("bash --rcfile /etc/rc -x -- deploy.sh", "bash deploy.sh"),
            ("bash -euoc pipefail secret db", "bash -c"),
            ("bash -oc pipefail secret", "bash -c"),
            ("bash -eOs extglob secret", "bash -s"),
            ("bash +c secret", "bash -c"),
            ("sh -ec secret", "sh -c"),
            ("sh -c -x secret", "sh -c"),
            ("bash -s -- --token secret", "bash -s"),
            ("sh - deploy.sh", "sh deploy.sh"),
            ("php -d memory_limit=1G -c /etc/php.ini artisan queue:work", "php artisan"),
            ("php8.2 -S 127.0.0.1:80 -t public", "php8.2 -S"),
            ("php --process-code secret", "php --process-code"),
            ("php -f /srv/x.php -- secret", "php x.php"),
            ("dotnet exec --roll-forward Major /srv/Shop.dll", "dotnet Shop.dll"),
        ] {
            assert_eq!(told(words).as_deref(), Some(label), "{words}");
        }
    }

    #[test]
    fn nothing_is_told_that_the_name_does_not_tell() {
        for (words, comm) in [
            // Run by their own names, by `#!` lines.
            (&["/usr/bin/python3", "./orders.py", "x"][..], "orders.py"),
            (&["/bin/sh", "/opt/deploy.sh"], "deploy.sh"),
            (&["/usr/bin/python3", "/usr/local/bin/gunicorn", "--bind", "localhost:80"], "gunicorn"),
            // No program: it waits for its input, or it is not to be seen.
            (&["python3"], "python3"),
            (&["-bash"], "bash"),
            (&["python3", "-i", "-W"], "python3"),
            (&["java", "-cp", "a.jar"], "java"),
            (&["java", "@args"], "java"),
            (&["java", "-jar"], "java"),
            (&["bash", "--"], "bash"),
            // It is not certain which word is the program, or that any is.
            (&["php", "--", "secret"], "php"),
            (&["php", "-d", "x=1", "--", "secret"], "php"),
            (&["bash", "-oe", "pipefail", "x.sh"], "bash"),
            (&["bash", "-oo", "pipefail", "errexit", "x.sh"], "bash"),
            (&["zsh", "-opipefail", "x.zsh", "secret"], "zsh"),
            (&["zsh", "-O", "x.zsh", "secret"], "zsh"),
            (&["perl", "-0xFFne", "secret"], "perl"),
            (&["perl", "-i.bak -e", "secret"], "perl"),
            (&["python3", ""], "python3"),
            // No interpreter.
            (&["/usr/sbin/nginx", "-c", "x.conf"], "nginx"),
            (&["python3-config", "x"], "python3-config"),
            (&["", "x"], "x"),
            (&[""], ""),
            (&[], ""),
        ] {
            assert_eq!(of(words, comm), None, "{words:?}");
        }
        assert_eq!(label("", "kthreadd", None), None);
    }

    #[test]
    fn names_that_the_kernel_has_cut_and_those_of_others_are_completed() {
        let script = ["/usr/bin/python3", "/srv/order-service-worker.py"];
        assert_eq!(of(&script, "order-service-w").as_deref(), Some("order-service-worker.py"));
        let gunicorn = ["/usr/bin/python3", "/usr/bin/gunicorn", "shop.wsgi:app"];
        assert_eq!(of(&gunicorn, "gunicorn").as_deref(), Some("gunicorn shop.wsgi:app"));
        // The main thread of newer Nodes has a name of its own.
        assert_eq!(of(&["node", "server.js"], "MainThread").as_deref(), Some("node server.js"));
        // By what the kernel calls it where it was started under another name.
        assert_eq!(of(&["shop", "-jar", "shop.jar"], "java").as_deref(), Some("java -jar shop.jar"));
        let java = label("shop\0Main\0", "worker", Some("/usr/lib/jvm/bin/java (deleted)"));
        assert_eq!(java.as_deref(), Some("java Main"));
    }

    #[test]
    fn of_titles_those_are_told_that_name_an_application_and_stay() {
        for (line, comm, want) in [
            ("gunicorn: worker [shop.wsgi:app]\0\0\0", "gunicorn: worke", Some("gunicorn shop.wsgi:app")),
            ("gunicorn: master [shop.wsgi:app]", "gunicorn: maste", Some("gunicorn shop.wsgi:app")),
            ("puma: cluster worker 0: 88 [shop]", "ruby", Some("puma shop")),
            ("puma 6.4.2 (tcp://0.0.0.0:9292) [shop]", "ruby", Some("puma shop")),
            ("php-fpm: pool www", "php-fpm8.2", Some("php-fpm pool www")),
            // As PM2 has it.
            ("node /srv/app/server.js  ", "node /srv/app/s", Some("node server.js")),
            ("php-fpm: master process (/etc/php/8.2/fpm/php-fpm.conf)", "php-fpm8.2", None),
            ("nginx: worker process\0\0", "nginx", None),
            ("postgres: app db 10.0.0.1(5123) idle", "postgres", None),
            ("sshd: me@pts/0", "sshd", None),
            ("sidekiq 7.2 shop [3 of 10 busy]", "ruby", None),
            ("gunicornish [x]", "gunicornish", None),
            ("/opt/my app/bin/python", "python", None),
        ] {
            assert_eq!(label(line, comm, None).as_deref(), want, "{line}");
        }
    }

    #[test]
    fn whatever_stands_there_the_label_is_short_and_whole_text() {
        let long = "é".repeat(4096);
        for words in [
            ["python3", &long, "x"],
            ["java", "-jar", &format!("a{long}.jar")],
            ["python3", "-m", &format!("\u{fffd}\u{1b}[31m\n{long}")],
        ] {
            let label = of(&words, words[0]).unwrap();
            assert!((MOST - 8..=MOST).contains(&label.len()) && label.contains('…'), "{label}");
        }
        let class = "java -m org.elasticsearch.server/org.elasticsearch.bootstrap.Elasticsearch";
        let want = "java -m org.elasticsearch.serv…search.bootstrap.Elasticsearch";
        assert_eq!(told(class).as_deref(), Some(want));
        // Escaped where it is printed, as names are.
        let hostile = ["python3", "/x/\u{1b}[2J\n\u{202e}.py"];
        assert_eq!(of(&hostile, "python3").as_deref(), Some("python3 \u{1b}[2J\n\u{202e}.py"));
        let many = "-v\0".repeat(40_000);
        assert_eq!(
            label(&format!("python3\0{many}x.py\0"), "python3", None).as_deref(),
            Some("python3 x.py")
        );
    }
}
