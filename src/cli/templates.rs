//! `vestibule templates`: the templates of our pages and their stylesheet, for somebody who wants others.
//!
//! Invariant: nothing that is there already is written over.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use super::report::Failure;
use crate::portal::look::originals;

/// The templates of the gateway's own pages.
#[derive(Debug, Args)]
pub(super) struct Templates {
    /// The folder; it is made if it is missing
    folder: PathBuf,
}

impl Templates {
    pub(super) fn run(self) -> Result<String, Failure> {
        let failed = |path: &Path, error: &io::Error| Failure::failed(format!("{}: {error}", path.display()));
        std::fs::create_dir_all(&self.folder).map_err(|error| failed(&self.folder, &error))?;
        let files: Vec<_> = originals().map(|(name, content)| (self.folder.join(name), content)).collect();
        if let Some((there, _)) = files.iter().find(|(path, _)| path.exists()) {
            return Err(Failure::usage(format!(
                "{}: it is there already; name another folder",
                there.display()
            )));
        }
        for (path, content) in &files {
            std::fs::write(path, content).map_err(|error| failed(path, &error))?;
        }
        let folder = self.folder.display();
        Ok(format!(
            "{} files are in {folder}. Keep those that you change; delete the others, so that they stay as each\n\
             version brings them. Then name the folder in the configuration:\n\n\
             [portal]\ntemplates = \"{folder}\"\n",
            files.len()
        ))
    }
}
