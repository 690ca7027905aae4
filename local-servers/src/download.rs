//! Server binaries from the network, for a machine that has none: the `postgresql_embedded` crate's installer.

use std::fs::{self, File};
use std::path::Path;

use postgresql_embedded::{PostgreSQL, Settings, VersionReq};

use crate::Error;
use crate::home::Home;
use crate::installed::{Installed, OLDEST};

/// Taken when no cluster asks for a version of its own.
const NEWEST: u32 = 17;

/// Installs into `postgres-binaries` of `home`, once; later calls find it there.
pub(crate) async fn download(home: &Home, major: Option<u32>) -> Result<Installed, Error> {
    let failed = |reason: String| Error::Download {
        needed: major.map_or_else(
            || format!("PostgreSQL {OLDEST} or newer"),
            |major| {
                format!(
                    "PostgreSQL {major}, which made {} (remove that to start again),",
                    home.file(crate::cluster::CLUSTER).display()
                )
            },
        ),
        reason,
    };
    let major = major.unwrap_or(NEWEST);
    let version = VersionReq::parse(&format!("={major}")).map_err(|error| failed(error.to_string()))?;

    // The crate installs only as the first half of a setup. It leaves out the second half, an initdb that root may not
    // run, where it sees a configuration file.
    let mut settings = Settings::new();
    File::create(settings.data_dir.join("postgresql.conf")).map_err(|error| failed(error.to_string()))?;
    let made_by_new = [Some(settings.data_dir.clone()), settings.password_file.parent().map(Path::to_path_buf)];
    settings.version = version;
    settings.installation_dir = home.file("postgres-binaries");

    tracing::info!("no PostgreSQL is installed here: downloading version {major}");
    let mut downloaded = PostgreSQL::new(settings);
    let outcome = downloaded.setup().await;
    for folder in made_by_new.into_iter().flatten() {
        // Only tidiness: they are temporary, with one empty file between them.
        let _removed = fs::remove_dir_all(folder);
    }
    outcome.map_err(|error| failed(error.to_string()))?;
    Installed::at(downloaded.settings().binary_dir())
}
