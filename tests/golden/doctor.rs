//! What `doctor` prints, of findings made up here: a kernel that offers little, and one that
//! offers nothing.

use std::time::Duration;

use closewait_trace::fact::Fact;
use closewait_trace::report::doctor::{
    Cannot, Capability, Check, Findings, Kernel, Purpose, Remedy, SelfTest, Tracing,
};
use closewait_trace::report::json;
use closewait_trace::report::text::doctor::Paper;
use closewait_trace::report::text::{LEAST, WIDEST};
use unicode_width::UnicodeWidthStr;

use crate::desk::{Desk, OPTIONS, assert_fits, assert_valid, golden};
use crate::made::NOW;

fn kernel() -> Kernel {
    Kernel {
        release: "5.10.0-test".into(),
        machine: "x86_64",
        lockdown: Fact::unknown("securityfs is not mounted, or the kernel has no lockdown"),
        btf: Fact::Known("/sys/kernel/btf/vmlinux".into()),
        tracefs: Fact::Known("mounted at /sys/kernel/tracing".into()),
        kprobes: false,
        task_registers: false,
    }
}

fn purpose(name: &'static str, by: Option<&'static str>) -> Purpose {
    Purpose { name, by, covered: false, refused: vec![], lost: None, cost: None, remedies: vec![] }
}

fn capability(name: &'static str, had: bool) -> Capability {
    Capability {
        name,
        had,
        used_for: "loading programs, reading their maps",
        lost: "tracing: snapshots are repeated",
    }
}

fn little() -> Findings {
    let accept = Purpose {
        refused: vec![
            ("kprobe", "this kernel has no kprobes".into()),
            ("fentry", format!("refused at load: {}\u{1b}[2J", "a verifier has much to say ".repeat(6))),
        ],
        cost: Some("every system call of the host takes some nanoseconds more"),
        remedies: vec![
            "a kernel with CONFIG_KPROBE_EVENTS".into(),
            "a kernel that allows BPF trampolines".into(),
        ],
        ..purpose("accept openers", Some("sys_exit_accept"))
    };
    let eof = Purpose {
        refused: vec![("fentry", "switched off by --without".into())],
        lost: Some("whether the application was told EOF, and which code ignored it"),
        remedies: vec!["no --without fentry".into()],
        ..purpose("EOF reads", None)
    };
    let uring = Purpose { covered: true, ..purpose("io_uring accept openers", None) };
    Findings {
        pods: Fact::Known("names of 3 pods and 4 containers; labels where a pod asks for them".into()),
        version: "0.0.0",
        kernel: kernel(),
        capabilities: Fact::Known(vec![capability("CAP_BPF", true), capability("CAP_SYS_RESOURCE", false)]),
        capabilities_from: Some(Remedy {
            what: "run it as root (sudo), or give this program what tracing takes:".into(),
            command: Some(format!(
                "sudo setcap {}+ep /usr/bin/closewait-trace",
                ["cap_sys_admin"; 2].join(",")
            )),
        }),
        tracing: Ok(Tracing {
            purposes: vec![purpose("transitions, connect openers", Some("raw_tp")), accept, uring, eof],
            verified: vec![("enter_raw".into(), 3636)],
        }),
    }
}

fn nothing() -> Findings {
    Findings {
        pods: Fact::unknown("cannot read /var/log/pods: No such file or directory (os error 2)"),
        version: "0.0.0",
        kernel: Kernel { btf: Fact::unknown("/nowhere: no such file"), ..kernel() },
        capabilities: Fact::unknown("capget: refused"),
        capabilities_from: None,
        tracing: Err(Cannot {
            what: "no kernel type information (BTF): /nowhere: no such file".into(),
            hint: "use a kernel built with CONFIG_DEBUG_INFO_BTF=y".into(),
            lost: "no tracing: only repeated snapshots, no exact times, no openers",
        }),
    }
}

fn tested() -> SelfTest {
    let check = |what, right, frames| Check { what, right, frames, remark: None };
    SelfTest::Found {
        after: Duration::from_millis(1_134),
        verdict: "EOF_IGNORED".into(),
        checks: vec![
            check("holder", Fact::Known(true), None),
            check("opener", Fact::Known(false), Some(1)),
            check("EOF read", Fact::unknown("no EOF evidence: the hook is off"), None),
        ],
    }
}

#[test]
fn the_text_says_what_is_lost_and_how_to_get_it() {
    let mut out = Vec::new();
    let mut paper = Paper { out: &mut out, width: WIDEST };
    paper.findings(&little()).unwrap();
    paper.self_test(&tested()).unwrap();
    paper.out.write_all(b"\n----\n").unwrap();
    paper.findings(&nothing()).unwrap();
    paper.self_test(&SelfTest::NotRun("tracing cannot run here".into())).unwrap();
    paper.self_test(&SelfTest::NotFound(Duration::from_secs(20))).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_fits(&text);
    golden("doctor.txt", &text);
}

/// On a narrow terminal there is the same, in lines that fit it; a command to be copied is whole.
#[test]
fn a_narrow_terminal_has_all_words_in_lines_that_fit() {
    let all = |width| {
        let mut out = Vec::new();
        let mut paper = Paper { out: &mut out, width };
        for findings in [little(), nothing()] {
            paper.findings(&findings).unwrap();
        }
        paper.self_test(&tested()).unwrap();
        String::from_utf8(out).unwrap()
    };
    let words = |text: &str| text.split_whitespace().collect::<String>();
    let whole = all(WIDEST);
    for width in LEAST..WIDEST {
        let text = all(width);
        assert_eq!(words(&text), words(&whole), "{width}");
        for line in text.lines().filter(|line| !line.starts_with("    sudo ")) {
            assert!(line.width() <= width, "{width}: {line}");
            assert_eq!(line.trim_end(), line, "blanks at the end");
        }
    }
}

#[test]
fn the_json_line_has_the_same_and_fits_the_schema() {
    let clock = Desk::text(OPTIONS).clock;
    let mut out = Vec::new();
    json::examined::doctor(&mut out, &little(), Some(&tested()), &clock, NOW).unwrap();
    json::examined::doctor(&mut out, &nothing(), None, &clock, NOW).unwrap();
    let not_run = SelfTest::NotRun("no namespace".into());
    json::examined::doctor(&mut out, &nothing(), Some(&not_run), &clock, NOW).unwrap();
    let text = String::from_utf8(out).unwrap();
    let lines = assert_valid(&text);
    assert_eq!(lines[0]["purposes"][3]["get_by"][0], "no --without fentry");
    assert_eq!(lines[0]["self_test"]["passed"], false);
    assert_eq!(lines[1]["can_trace"], false);
    assert_eq!(lines[1]["self_test"], serde_json::Value::Null);
    golden("doctor.jsonl", &text);
}
