//! The `jeton` binary; everything is in the library.

fn main() -> std::process::ExitCode {
    jeton::cli::main()
}
