//! Completion in the shells that it is installed for, each of them the real one: a word is begun,
//! and what Tab makes of it is looked at.

use super::tried::Root;
use anyhow::{Result, ensure};

/// Loaded on demand, as at the first Tab.
const BASH: &str = r#"
    . /usr/share/bash-completion/bash_completion
    if type _comp_load >/dev/null 2>&1; then _comp_load closewait-trace
    else _completion_loader closewait-trace; fi
    function=$(complete -p closewait-trace | sed 's/.* -F \([^ ]*\) .*/\1/')
    COMP_WORDS=(closewait-trace "$1") COMP_CWORD=1
    "$function" closewait-trace "$1" closewait-trace
    printf '%s\n' "${COMPREPLY[@]}""#;

/// A shell on a terminal of its own, in which Tab is pressed: zsh completes nowhere else. The key
/// after it prints the line as it is then.
const ZSH: &str = r#"
    zmodload zsh/zpty
    zpty z zsh -f -i
    zpty -w z 'PS1=; PS2=; autoload -Uz compinit; compinit -u -D; bindkey "^I" complete-word;
        show() { print -r -- "<$BUFFER>"; BUFFER=; }; zle -N show; bindkey "^X" show; print rea""dy'
    zpty -r z said '*ready*'
    zpty -w -n z $'closewait-trace '$1$'\t\x18'
    zpty -r z said '*<closewait-trace *>*'
    said=${said##*<closewait-trace }
    print -r -- ${said%%>*}"#;

/// Its own question, for the line that it is given.
const FISH: &str = r#"complete --do-complete "closewait-trace $argv[1]""#;

/// A command and an option are completed, and what begins nothing is not.
pub(super) fn bash(root: &Root) -> Result<()> {
    offers(|word| root.output(&["bash", "-c", BASH, "bash", word]), str::to_owned)
}

/// The same in zsh.
pub(super) fn zsh(root: &Root) -> Result<()> {
    let line = ["timeout", "30", "env", "TERM=dumb", "zsh", "-f", "-c", ZSH, "zsh"];
    // It puts behind a word what comes there.
    offers(
        |word| root.output(&[&line[..], &[word]].concat()),
        |line| line.trim_end_matches(['=', ' ']).into(),
    )
}

/// The same in fish, which describes each.
pub(super) fn fish(root: &Root) -> Result<()> {
    let line = ["env", "HOME=/tmp/completes", "fish", "-c", FISH, "--"];
    let word = |line: &str| line.split('\t').next().unwrap_or_default().to_owned();
    offers(|begun| root.output(&[&line[..], &[begun]].concat()), word)?;
    // What the package leaves behind is looked for later; this is fish's.
    root.output(&["rm", "-r", "/tmp/completes"]).map(drop)
}

fn offers(ask: impl Fn(&str) -> Result<String>, of: impl Fn(&str) -> String) -> Result<()> {
    for (begun, want) in [("sn", "snapshot"), ("--metrics-l", "--metrics-listen")] {
        let said = ask(begun)?;
        ensure!(of(&said) == want, "for `{begun}` it offers {said:?}");
    }
    Ok(())
}
