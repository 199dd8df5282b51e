//! What is read from standard input: the one place for what nobody else on this machine may see.

use std::io::Read;

use zeroize::Zeroizing;

use crate::error::Exit;

/// Most that is read, in bytes: nothing that is meant is as long, and whatever else is piped in must not
/// fill the memory.
const LONGEST: u64 = 64 << 10;

/// A token, a secret: whatever `what` names, without the white space around it.
pub(super) fn text(what: &str) -> Result<Zeroizing<String>, Exit> {
    let mut text = Zeroizing::new(String::new());
    let read = std::io::stdin().lock().take(LONGEST + 1).read_to_string(&mut text);
    match read {
        Ok(length) if length as u64 > LONGEST => {
            Err(Exit::Failed(format!("standard input holds more than 64 KiB: no {what}")))
        }
        Ok(_) if text.trim().is_empty() => {
            Err(Exit::Failed("there is nothing on standard input".to_owned()))
        }
        Ok(_) => Ok(Zeroizing::new(text.trim().to_owned())),
        Err(_) => Err(Exit::Failed(format!("standard input is not text: no {what}"))),
    }
}
