//! The size of the uploads.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Effort;
use crate::contestant::{first_line, node_bundle, python_environment, target};
use crate::program::installed;
use crate::report::Report;
use crate::stage::Stage;
use crate::statistics::number;

/// Python's zipfile at zlib's level 9. Packages that Lambda's Python runtime includes are omitted, and so are those
/// that only install.
const ZIP: &str = r#"
import io, pathlib, sys, zipfile
runtime = ("awslambdaric", "boto3", "botocore", "dateutil", "jmespath", "python_dateutil", "s3transfer", "simplejson",
           "six", "snapshot_restore", "pip", "setuptools", "distutils", "_distutils", "pkg_resources")
path, zipped, plain = pathlib.Path(sys.argv[1]), io.BytesIO(), 0
with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
    for file in [path] if path.is_file() else sorted(path.rglob("*")):
        inside = file.relative_to(path) if path.is_dir() else pathlib.Path(sys.argv[2])
        if file.is_file() and "__pycache__" not in inside.parts and not inside.parts[0].startswith(runtime):
            archive.write(file, inside)
            plain += file.stat().st_size
print(plain, len(zipped.getvalue()))
"#;

pub fn measure(_: &Stage, _: Effort, report: &mut Report) {
    let release = target().join("release");
    // cargo-lambda's own choice, and that of `make artefact`.
    let lambda = [target(), Path::new(env!("CARGO_MANIFEST_DIR")).join("target")];
    let lambda: Vec<_> = lambda.into_iter().map(|target| target.join("lambda/stripe-amplitude/bootstrap")).collect();
    let site_packages = first_line(
        Command::new(python_environment().join("bin/python"))
            .args(["-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]),
    );
    let here = std::env::consts::ARCH;
    let rows = [
        (format!("hello, {here}"), Some(release.join("hello"))),
        (format!("stripe-amplitude, {here}"), Some(release.join("stripe-amplitude"))),
        (format!("redelivery, {here}"), Some(release.join("redelivery"))),
        ("stripe-amplitude, arm64 (cargo-lambda)".to_owned(), lambda.into_iter().find(|path| path.exists())),
        ("Node.js, the bundle".to_owned(), Some(node_bundle())),
        ("Python, the packages that the runtime does not bring".to_owned(), site_packages.map(PathBuf::from)),
    ];
    let rows = rows.into_iter().map(|(name, path)| {
        let sizes = path.filter(|path| path.exists()).map(|path| zip(&path));
        let sizes = sizes.map(|sizes| sizes.map(|bytes| number(bytes / 1e6)).to_vec());
        [vec![name], sizes.unwrap_or_else(|| vec!["not built".to_owned(), "–".to_owned()])].concat()
    });
    report.say("In megabytes (10⁶ bytes); zipped by Python's zipfile with deflate at level 9.");
    report.table(&["", "as it is", "zipped"], &rows.collect::<Vec<_>>());
    let crates = [("stripe-amplitude", "the function"), ("hello", "hello")]
        .map(|(package, name)| format!("{} in {name}", crates(package)));
    report.say(&format!("Crates, as `tests/dependencies.sh` counts them: {}.", crates.join(", ")));
}

/// The bytes of a file or a directory, and those of its zip.
fn zip(path: &Path) -> [f64; 2] {
    let name = if path.extension().is_some() { "index.js" } else { "bootstrap" };
    let line =
        first_line(Command::new(installed("python")).args(["-c", ZIP]).arg(path).arg(name)).expect("Python zips");
    let mut sizes = line.split(' ').map(|bytes| bytes.parse().unwrap());
    [sizes.next().unwrap(), sizes.next().unwrap()]
}

/// How many crates a package consists of, itself included.
fn crates(package: &str) -> usize {
    let tree = Command::new("cargo")
        .args(["tree", "--locked", "--offline", "--edges", "normal", "--prefix", "none", "--no-dedupe"])
        .args(["--format", "{p}", "--package", package])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let tree = String::from_utf8(tree.stdout).unwrap();
    let names = tree.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>());
    names.collect::<std::collections::BTreeSet<_>>().len()
}
