//! As a service of the system: what the manager is told and gives, and the file with the process' id.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::harness::Address;
use crate::harness::ports::Port;
use crate::harness::process::{Process, RunAs, command, run_to_end};
use crate::harness::time::{eventually, run};
use crate::harness::wire::Wire;

/// A proxy without a Postgres, and the manager's socket.
struct Service {
    directory: TempDir,
    port: Port,
    manager: UnixDatagram,
}

impl Service {
    fn new(options: &str) -> Self {
        let (directory, port) = (tempfile::tempdir().expect("a directory"), Port::take());
        let text = format!(
            "[proxy]\nlisten_port = {}\nunix_socket_dir = \"\"\nhttp_addr = \"\"\n{options}\n\
             [hosts.main]\n[databases.app]\nhost = \"main\"\n[users.app]\npassword = \"x\"\n",
            port.number
        );
        std::fs::write(directory.path().join("proxy.toml"), text).expect("a file");
        let manager = UnixDatagram::bind(directory.path().join("notify")).expect("a socket");
        manager.set_nonblocking(true).expect("a socket");
        Self { directory, port, manager }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn start(&self, program: &mut Command) -> Process {
        program.env("NOTIFY_SOCKET", self.path("notify"));
        Process::start("pgweir", program, Signal::QUIT)
    }

    fn program(&self, options: &[&str]) -> Command {
        let mut program = command(env!("CARGO_BIN_EXE_pgweir"), RunAs::Ourselves);
        program.arg("run").arg("-c").arg(self.path("proxy.toml")).args(options);
        program
    }

    /// The next message to the manager.
    async fn told(&self) -> String {
        eventually("the manager is told", async || {
            let mut message = [0; 4_096];
            let length = self.manager.recv(&mut message).ok()?;
            Some(String::from_utf8_lossy(&message[..length]).into_owned())
        })
        .await
    }

    async fn reach(&self, port: u16) {
        let address = Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        eventually("it listens", async || Wire::try_connect(&address).await.ok()).await;
    }
}

async fn end_of(mut process: Process) -> bool {
    eventually("it has ended", async || process.ended()).await.success()
}

fn pid_in(file: &Path) -> Option<u32> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[test]
fn the_manager_is_told_and_the_pid_file_kept() {
    run(async {
        let service = Service::new("pidfile = \"pid\"");
        let process = service.start(&mut service.program(&[]));
        assert!(service.told().await.starts_with("READY=1\n"));
        // `setpriv` becomes the program: the id is the child's.
        assert_eq!(pid_in(&service.path("pid")), Some(process.pid()));
        let again = service.start(&mut service.program(&[]));
        assert!(!end_of(again).await, "one process for one configuration");
        assert_eq!(pid_in(&service.path("pid")), Some(process.pid()));
        process.signal(Signal::TERM);
        assert_eq!(service.told().await.trim(), "STOPPING=1");
        assert!(end_of(process).await);
        assert_eq!(pid_in(&service.path("pid")), None);
    });
}

#[test]
fn the_manager_is_told_which_process_it_is_after_a_takeover() {
    run(async {
        let service = Service::new("pidfile = \"pid\"\ntakeover_socket = \"over\"");
        let old = service.start(&mut service.program(&[]));
        service.told().await;
        let new = service.start(&mut service.program(&["--takeover"]));
        let told = service.told().await;
        assert!(told.contains(&format!("MAINPID={}", new.pid())), "{told}");
        assert!(end_of(old).await);
        assert_eq!(pid_in(&service.path("pid")), Some(new.pid()), "the old one has left it alone");
        service.reach(service.port.number).await;
    });
}

/// As systemd is told to: `systemctl kill --signal=RTMIN`.
#[test]
fn a_signal_starts_the_next_process() {
    run(async {
        let service = Service::new("pidfile = \"pid\"\ntakeover_socket = \"over\"");
        let old = service.start(&mut service.program(&[]));
        service.told().await;
        let before = old.pid();
        let kill = format!("kill -34 {before}");
        run_to_end(Command::new("sh").args(["-c", &kill]));
        let told = service.told().await;
        assert!(told.starts_with("READY=1\nMAINPID="), "{told}");
        assert!(end_of(old).await);
        let new = pid_in(&service.path("pid")).expect("the next one has written it");
        assert_ne!(new, before);
        service.reach(service.port.number).await;
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(new.cast_signed()).expect("it is a process"),
            Signal::QUIT,
        )
        .expect("it runs");
        assert_eq!(service.told().await.trim(), "STOPPING=1");
    });
}

/// The manager listens where it likes; the proxy's own addresses do not matter then.
#[test]
fn sockets_of_the_manager_are_used() {
    run(async {
        let service = Service::new("takeover_socket = \"over\"");
        let given = Port::take();
        let script = format!(
            "import os, socket, sys; s = socket.socket(); s.bind(('127.0.0.1', {})); s.listen(); \
             os.dup2(s.fileno(), 3); os.set_inheritable(3, True); \
             os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid())); \
             os.execv(sys.argv[1], sys.argv[1:])",
            given.number
        );
        let mut program = command("python3", RunAs::Ourselves);
        program.args(["-c", &script, env!("CARGO_BIN_EXE_pgweir"), "run", "-c"]);
        let old = service.start(program.arg(service.path("proxy.toml")));
        service.told().await;
        service.reach(given.number).await;
        let own = Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, service.port.number)));
        assert!(Wire::try_connect(&own).await.is_err(), "only where the manager says");
        // They go along when another process takes over.
        let new = service.start(&mut service.program(&["--takeover"]));
        service.told().await;
        assert!(end_of(old).await);
        service.reach(given.number).await;
        new.signal(Signal::QUIT);
        assert!(end_of(new).await);
    });
}

/// Or `systemctl reload` would wait for ever.
#[test]
fn the_manager_is_told_when_a_reload_begins_and_when_it_is_over() {
    run(async {
        let service = Service::new("");
        let process = service.start(&mut service.program(&[]));
        assert!(service.told().await.starts_with("READY=1"));
        process.signal(Signal::HUP);
        let began = service.told().await;
        assert!(began.contains("RELOADING=1") && began.contains("MONOTONIC_USEC="), "{began}");
        assert!(service.told().await.starts_with("READY=1"));
        std::fs::write(service.path("proxy.toml"), "broken").expect("a file");
        process.signal(Signal::HUP);
        assert!(service.told().await.contains("RELOADING=1"));
        assert!(service.told().await.starts_with("READY=1"), "with what held before");
    });
}
