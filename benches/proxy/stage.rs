//! What all rows share: the programs, the temporary directory, the Postgres behind the proxies.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use crate::Result;
use crate::plan::Plan;
use crate::postgres::Postgres;
use crate::process::{Account, raise_open_files};
use crate::programs::Programs;

/// For the clients of the memory row, beside what a process opens anyway.
const OPEN_FILES: u64 = 8192;

/// Fields are dropped in order: Postgres stops before its directory goes.
pub(crate) struct Stage {
    postgres: Postgres,
    directory: TempDir,
    pub(crate) account: Option<Account>,
    pub(crate) programs: Programs,
    pub(crate) plan: Plan,
}

impl Stage {
    pub(crate) fn set(programs: Programs, plan: Plan) -> Result<Self> {
        raise_open_files(OPEN_FILES)?;
        let account = Account::unprivileged()?;
        let directory = tempfile::Builder::new().prefix("pgweir-bench-").tempdir()?;
        // Postgres and PgBouncer may run as another user, who has to get in.
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755))?;
        let postgres = Postgres::start(&programs, account, directory.path())?;
        Ok(Self { postgres, directory, account, programs, plan })
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn postgres(&self) -> &Postgres {
        &self.postgres
    }

    pub(crate) fn postgres_port(&self) -> u16 {
        self.postgres.port
    }

    /// What Postgres stores for the user who proves itself with SCRAM.
    pub(crate) fn scram_secret(&self) -> &str {
        &self.postgres.scram_secret
    }
}
