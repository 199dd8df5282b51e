//! A pooler in transaction mode, at its worst: after every transaction a client is moved to
//! another server connection.

use std::io;

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
