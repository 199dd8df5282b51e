//! Reading answers: no more of HTTP than the servers of this bench write.

/// An answer that has come as a whole.
pub struct Answer<'a> {
    /// Whether its status is 2xx.
    pub success: bool,
    /// Its body.
    pub body: &'a [u8],
    /// All of it.
    pub whole: &'a [u8],
}

impl<'a> Answer<'a> {
    /// Reads an answer; `None` if there is more to come.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (head, length) = head(bytes)?;
        let body = bytes.get(head..head + length)?;
        let success = bytes.starts_with(b"HTTP/1.1 2");
        Some(Self { success, body, whole: bytes })
    }
}

/// Where the head ends, and how long it says that the body is.
fn head(bytes: &[u8]) -> Option<(usize, usize)> {
    const NAME: &[u8] = b"content-length: ";
    let (mut at, mut length) = (0, 0);
    loop {
        let end = at + bytes[at..].iter().position(|byte| *byte == b'\n')?;
        let line = &bytes[at..end];
        at = end + 1;
        if line == b"\r" {
            return Some((at, length));
        }
        if line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)) {
            let digits = line[NAME.len()..].iter().take_while(|byte| byte.is_ascii_digit());
            length = digits.fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
        }
    }
}
