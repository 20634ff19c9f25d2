//! The folder on the disk. The only I/O of the core.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    Policy, PolicyErrors, PolicyFile,
    check::summary,
    problem::{In, Place},
};

/// Where a policy's files are: the folder itself, and these within it.
const FOLDERS: [&str; 3] = ["", "cohorts", "plans"];

impl Policy {
    /// Reads and checks the policy in `folder`. Every mistake is reported with the folder's own path.
    pub fn load(folder: &Path) -> Result<Self, PolicyErrors> {
        let shown = folder.display().to_string();
        read_folder(folder).and_then(|files| Self::parse(&files)).map_err(|errors| errors.within(&shown))
    }
}

/// What `bellwether audience check` prints for a folder that is sound: its warnings, and what it holds.
pub fn check(folder: &Path) -> Result<String, PolicyErrors> {
    let policy = Policy::load(folder)?;
    let shown = folder.display().to_string();
    let warnings = policy.warnings().iter().map(|warning| format!("warning: {}\n", In(&shown, warning)));
    Ok(warnings.collect::<String>() + &summary(&policy))
}

/// The files of a policy in `folder`, as they stand there now, sound or not.
pub fn read_folder(folder: &Path) -> Result<Vec<PolicyFile>, PolicyErrors> {
    let unreadable = |path: &str, error: &io::Error| {
        PolicyErrors::one(&Place::file(path), format!("cannot be read: {error}"), "see that it is there")
    };
    let root = folder.canonicalize().map_err(|error| unreadable("", &error))?;
    let mut files = Vec::new();
    for inner in FOLDERS {
        let entries = match fs::read_dir(root.join(inner)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(unreadable(inner, &error)),
        };
        for entry in entries {
            let name = entry.map_err(|error| unreadable(inner, &error))?.file_name();
            let path: PathBuf = [Path::new(inner), Path::new(&name)].iter().collect();
            let shown = path.to_string_lossy().replace('\\', "/");
            let of_policy = |extension: &std::ffi::OsStr| extension == "toml" || extension == "txt";
            if !path.extension().is_some_and(of_policy) {
                continue;
            }
            // A link may stay inside the folder (mounted configurations do); one that leads out would
            // make members of whatever it points to.
            let real = root.join(&path).canonicalize().map_err(|error| unreadable(&shown, &error))?;
            if !real.starts_with(&root) {
                let problem = "leads out of the folder";
                return Err(PolicyErrors::one(&Place::file(&shown), problem, "put the file itself here"));
            }
            let text = fs::read_to_string(&real).map_err(|error| unreadable(&shown, &error))?;
            files.push(PolicyFile { path: shown, text });
        }
    }
    Ok(files)
}
