//! Reads a header of the PROXY protocol as it stands on the wire, without understanding more of it than its length.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Reads a header and not a byte more: a line that begins with `PROXY`, or the binary form.
pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut header = vec![from.read_u8().await?];
    if header == b"P" {
        while !header.ends_with(b"\r\n") && header.len() <= 107 {
            header.push(from.read_u8().await?);
        }
        return Ok(header);
    }
    header.resize(16, 0);
    from.read_exact(&mut header[1..]).await?;
    let rest = usize::from(u16::from_be_bytes([header[14], header[15]]));
    header.resize(16 + rest, 0);
    from.read_exact(&mut header[16..]).await?;
    Ok(header)
}
