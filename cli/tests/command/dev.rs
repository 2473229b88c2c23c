//! The script `dev`.

use tokio::process::Command;

#[tokio::test]
async fn its_help_is_shown_from_any_folder() {
    let mut dev = Command::new("bash");
    dev.args(["../dev", "help"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = dev.output().await.unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && stdout.contains("./dev demo"), "{output:?}");
    assert!(!stdout.contains("set -euo"), "{stdout}");
}
