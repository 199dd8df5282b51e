//! Tokens and secrets from standard input, where nobody else on this machine sees them. Passwords are read
//! elsewhere (`user.rs`): white space is a part of those.

use std::io::Read;

use zeroize::Zeroizing;

use crate::error::Exit;

/// Most that is read, in bytes: nothing that is meant is as long, and whatever else is piped in must not
/// fill the memory.
const LONGEST: usize = 64 << 10;

/// A token, a secret: whatever `what` names, without the white space around it.
pub(super) fn text(what: &str) -> Result<Zeroizing<String>, Exit> {
    // Its final size, so that no copy is left behind where it grew out of its place.
    let mut text = Zeroizing::new(String::with_capacity(2 * LONGEST));
    let read = std::io::stdin().lock().take(LONGEST as u64 + 1).read_to_string(&mut text);
    match read {
        Ok(length) if length > LONGEST => {
            Err(Exit::Failed(format!("standard input holds more than 64 KiB: no {what}")))
        }
        Ok(_) if text.trim().is_empty() => {
            Err(Exit::Failed("there is nothing on standard input".to_owned()))
        }
        Ok(_) => Ok(Zeroizing::new(text.trim().to_owned())),
        Err(_) => Err(Exit::Failed(format!("standard input is not text: no {what}"))),
    }
}
