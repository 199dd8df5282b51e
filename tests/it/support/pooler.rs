//! Poolers in transaction mode. One of our own, at its worst: after every transaction a client is moved to
//! another server connection. And a real PgBouncer.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The request for TLS, which we have none of.
const TLS: i32 = 80_877_103;

/// Starts one in front of the server of this URL; returns the URL that leads through it.
pub async fn start(url: &str) -> String {
    let url = url::Url::parse(url).unwrap();
    let server = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut through = url;
    through.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
    actix_web::rt::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = server.clone();
            actix_web::rt::spawn(async move { serve(client, &server).await.unwrap_or(()) });
        }
    });
    through.to_string()
}

async fn serve(mut client: TcpStream, server: &str) -> io::Result<()> {
    let mut startup = body(&mut client).await?;
    if startup == TLS.to_be_bytes() {
        client.write_all(b"N").await?;
        startup = body(&mut client).await?;
    }
    let length = i32::try_from(startup.len() + 4).unwrap().to_be_bytes();
    let startup = [&length[..], &startup].concat();
    let mut servers = [TcpStream::connect(server).await?, TcpStream::connect(server).await?];
    for server in &mut servers {
        server.write_all(&startup).await?;
    }
    answer(&mut servers[0], &mut client).await?;
    answer(&mut servers[1], &mut tokio::io::sink()).await?;
    let mut turn = 0;
    loop {
        let kind = client.read_u8().await?;
        let body = body(&mut client).await?;
        let server = &mut servers[turn];
        write(server, kind, &body).await?;
        // A query or a sync: the answer ends with whether a transaction is open.
        if matches!(kind, b'Q' | b'S') && answer(server, &mut client).await? == b'I' {
            turn = 1 - turn;
        }
    }
}

/// What follows a message's length.
async fn body(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = usize::try_from(stream.read_i32().await?).unwrap();
    let mut body = vec![0; length - 4];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

async fn write(to: &mut (impl AsyncWriteExt + Unpin), kind: u8, body: &[u8]) -> io::Result<()> {
    let length = i32::try_from(body.len() + 4).unwrap().to_be_bytes();
    to.write_all(&[&[kind][..], &length, body].concat()).await
}

/// Passes an answer on until the server is ready again, and says in what state.
async fn answer(server: &mut TcpStream, to: &mut (impl AsyncWriteExt + Unpin)) -> io::Result<u8> {
    loop {
        let kind = server.read_u8().await?;
        let body = body(server).await?;
        write(to, kind, &body).await?;
        if kind == b'Z' {
            return Ok(body[0]);
        }
    }
}

/// A PgBouncer of the test's own, in transaction mode.
#[derive(Debug)]
pub struct PgBouncer {
    /// The URL of the database, through it.
    pub url: String,
    child: Child,
    _directory: tempfile::TempDir,
}

impl PgBouncer {
    /// Starts one in front of the server of this URL, with so many connections to the database.
    pub async fn start(url: &str, connections: usize) -> Self {
        for _ in 0..20 {
            let port = rand::random_range(12_000..20_000);
            if let Some(pooler) = Self::try_at(port, url, connections).await {
                return pooler;
            }
        }
        panic!("PgBouncer did not start");
    }

    async fn try_at(port: u16, url: &str, connections: usize) -> Option<Self> {
        let mut through = url::Url::parse(url).unwrap();
        let directory = tempfile::Builder::new().prefix("jeton-pooler-").tempdir().unwrap();
        let path = directory.path();
        // It refuses to be root, and reads this as somebody else.
        std::fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        let (users, log) = (path.join("users"), path.join("log"));
        std::fs::write(&users, "\"postgres\" \"\"\n").unwrap();
        let text = format!(
            "[databases]\n* = host={} port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {}\n\
             pool_mode = transaction\ndefault_pool_size = {connections}\nmax_client_conn = 1000\n",
            through.host_str().unwrap(),
            through.port().unwrap(),
            users.display()
        );
        std::fs::write(path.join("ini"), text).unwrap();
        let places = ["/usr/sbin/pgbouncer", "/usr/local/sbin/pgbouncer"];
        let program = places.iter().find(|path| Path::new(path).exists());
        let mut command = Command::new(program.unwrap_or(&"pgbouncer"));
        command.arg(path.join("ini")).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(std::fs::File::create(&log).unwrap());
        // Of a directory that root owns, the owner is root.
        if std::fs::metadata(path).unwrap().uid() == 0 {
            command.uid(65534).gid(65534);
        }
        let child = command.spawn().unwrap_or_else(|error| panic!("pgbouncer: {error}"));
        through.set_port(Some(port)).unwrap();
        let mut pooler = Self { url: through.to_string(), child, _directory: directory };
        // It says so once it listens.
        while !std::fs::read_to_string(&log).unwrap().contains("process up") {
            if pooler.child.try_wait().unwrap().is_some() {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        pooler.child.try_wait().unwrap().is_none().then_some(pooler)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
