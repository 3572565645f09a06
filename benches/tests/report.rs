//! A smoke run of every question: the report is whole. Says nothing of how fast anything is.

use benches::Args;
use clap::Parser as _;

#[tokio::test(flavor = "multi_thread")]
async fn smoke_run_answers_every_question_with_figures() {
    let out = tempfile::tempdir().unwrap();
    // With the servers that the environment names, if any.
    let program = env!("CARGO_BIN_EXE_benches");
    let args = ["benches", "--quick", "--servers", "environment", "--program", program];
    let args = Args::parse_from(args);
    let mut told = Vec::new();
    let report = benches::run(args, &mut told).await.unwrap();

    let questions = [
        "idle",
        "append",
        "processes",
        "across",
        "read",
        "space",
        "send",
        "fan-out",
        "delivery",
        "resume",
        "list",
        "history",
    ];
    assert_eq!(report.questions(), questions);
    assert_eq!(report.complaints(), Vec::<String>::new());

    let path = report.write(out.path()).unwrap();
    let written = std::fs::read_to_string(path).unwrap();
    let told = String::from_utf8(told).unwrap();
    for text in [&written, &told] {
        assert_eq!(text.matches("\n## ").count(), questions.len() + 2, "{text}");
        assert!(
            text.contains("\n## Summary\n")
                && text.contains("\n## Goals\n")
                && text.contains("SQLite FULL"),
            "{text}"
        );
    }
    let pictures: Vec<_> = written
        .lines()
        .filter_map(|line| line.strip_suffix(".svg)")?.rsplit_once('('))
        .map(|(_, name)| out.path().join(format!("{name}.svg")))
        .collect();
    assert!(pictures.len() >= questions.len(), "{written}");
    for picture in pictures {
        let svg = std::fs::read_to_string(&picture).unwrap();
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"), "{}", picture.display());
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{}", picture.display());
    }
}

#[tokio::test]
async fn unknown_question_and_unknown_store_are_refused() {
    for (flag, value) in [("--only", "appendix"), ("--store", "papyrus")] {
        let args = Args::parse_from(["benches", "--quick", flag, value]);
        let error = benches::run(args, &mut Vec::new()).await.unwrap_err();
        assert!(error.to_string().contains(value), "{error}");
    }
}
