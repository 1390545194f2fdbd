//! A `protoc` that is all Rust, for build scripts that insist on one (set `PROTOC` to it).
//!
//! It understands what prost-build passes: `--version`, and
//! `--include_imports --include_source_info -o FILE -I PATH… FILE…`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use prost::Message as _;

/// The command line of one run.
#[derive(Debug, Default, PartialEq)]
struct Job {
    imports: bool,
    source_info: bool,
    output: Option<PathBuf>,
    include: Vec<PathBuf>,
    files: Vec<PathBuf>,
}

fn main() -> ExitCode {
    match run(std::env::args_os().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("protoc: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Vec<OsString>) -> Result<()> {
    if arguments.iter().any(|argument| argument == "--version") {
        // The oldest release whose features (proto3 optional) protox covers.
        println!("libprotoc 3.15.0");
        return Ok(());
    }
    let job = parse(arguments)?;
    let output = job.output.context("nothing to do: -o FILE is missing")?;
    let mut compiler = protox::Compiler::new(&job.include)?;
    compiler.include_imports(job.imports).include_source_info(job.source_info).open_files(&job.files)?;
    let described = compiler.file_descriptor_set().encode_to_vec();
    std::fs::write(&output, described).with_context(|| format!("writing {}", output.display()))
}

fn parse(arguments: Vec<OsString>) -> Result<Job> {
    let mut job = Job::default();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let text = argument.to_str().with_context(|| format!("argument {argument:?} is not UTF-8"))?;
        let mut value = |joined: &str| -> Result<PathBuf> {
            if joined.is_empty() {
                arguments.next().map(PathBuf::from).with_context(|| format!("{text} needs a value"))
            } else {
                Ok(PathBuf::from(joined))
            }
        };
        if text == "--include_imports" {
            job.imports = true;
        } else if text == "--include_source_info" {
            job.source_info = true;
        } else if text == "--experimental_allow_proto3_optional" {
            // Always allowed here.
        } else if let Some(joined) = text.strip_prefix("--descriptor_set_out=") {
            job.output = Some(value(joined)?);
        } else if let Some(joined) = text.strip_prefix("--proto_path=") {
            job.include.push(value(joined)?);
        } else if let Some(joined) = text.strip_prefix("-o") {
            job.output = Some(value(joined)?);
        } else if let Some(joined) = text.strip_prefix("-I") {
            job.include.push(value(joined)?);
        } else if text.starts_with('-') {
            bail!("{text} is not supported by this stand-in; it only makes descriptor sets");
        } else {
            job.files.push(PathBuf::from(text));
        }
    }
    Ok(job)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Job) {
        assert_eq!(parse(line.split(' ').map(OsString::from).collect()).unwrap(), expected, "{line}");
    }

    #[test]
    fn prost_builds_command_line_is_understood() {
        let expected = || Job {
            imports: true,
            source_info: true,
            output: Some("out.bin".into()),
            include: vec!["a".into(), "b".into()],
            files: vec!["x.proto".into()],
        };
        check("--include_imports --include_source_info -o out.bin -I a -I b x.proto", expected());
        check("--include_imports --include_source_info -oout.bin -Ia --proto_path=b x.proto", expected());
    }

    #[test]
    fn what_it_cannot_do_is_refused_by_name() {
        let refused =
            |line: &str| parse(line.split(' ').map(OsString::from).collect()).unwrap_err().to_string();
        assert!(refused("--cpp_out=. x.proto").contains("--cpp_out"));
        assert!(refused("x.proto -o").contains("-o needs a value"));
    }
}
