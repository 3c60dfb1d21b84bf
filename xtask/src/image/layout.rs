//! An OCI image layout (image-spec 1.0, image-layout.md): `oci-layout`, `index.json`, and
//! blobs that are called by their SHA-256: one layer, the configuration, the manifest.

use super::{NAME, VERSION, emptied};
use crate::command;
use anyhow::{Context, Result, bail};
use object::{Architecture, Object};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{fs, path::Path, process::Command};

/// What the configuration says beside the files.
pub(super) struct Image {
    /// As Go names it
    pub(super) architecture: &'static str,
    pub(super) entrypoint: &'static str,
}

/// A blob, by its digest.
struct Blob {
    digest: String,
    size: usize,
}

/// Every time in the image: what was made when would change its bytes.
const EPOCH: &str = "1970-01-01T00:00:00Z";

/// The architecture of an executable.
pub(super) fn architecture(executable: &[u8]) -> Result<&'static str> {
    Ok(match object::File::parse(executable).context("the binary is no executable")?.architecture() {
        Architecture::X86_64 => "amd64",
        Architecture::Aarch64 => "arm64",
        other => bail!("the binary is for {other:?}; the tool runs on x86-64 and aarch64"),
    })
}

/// Writes the layout of an image with the files of `root` to `oci`; the digest of its manifest.
pub(super) fn write(image: &Image, root: &Path, oci: &Path) -> Result<String> {
    emptied(oci)?;
    let file = oci.with_extension("layer.tar");
    tar(root, &file)?;
    let bytes = fs::read(&file)?;
    let diff_id = digest(&bytes);
    // Without the name and the time.
    let mut gzip = Command::new("gzip");
    command::output(gzip.args(["--no-name", "--best", "--force"]).arg(&file))?;
    let packed = file.with_extension("tar.gz");
    let layer = put(oci, &fs::read(&packed)?)?;
    fs::remove_file(packed)?;

    let labels = json!({
        "org.opencontainers.image.title": NAME,
        "org.opencontainers.image.version": VERSION,
        "org.opencontainers.image.licenses": env!("CARGO_PKG_LICENSE"),
        "org.opencontainers.image.source": env!("CARGO_PKG_REPOSITORY"),
    });
    let config = put_json(
        oci,
        &json!({
            "created": EPOCH,
            "architecture": image.architecture,
            "os": "linux",
            "config": {"Entrypoint": [image.entrypoint], "Labels": labels},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created": EPOCH, "created_by": "cargo xtask image"}],
        }),
    )?;
    let manifest = put_json(
        oci,
        &json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config.descriptor("application/vnd.oci.image.config.v1+json"),
            "layers": [layer.descriptor("application/vnd.oci.image.layer.v1.tar+gzip")],
        }),
    )?;
    let mut entry = manifest.descriptor("application/vnd.oci.image.manifest.v1+json");
    entry["platform"] = json!({"os": "linux", "architecture": image.architecture});
    entry["annotations"] = json!({
        "org.opencontainers.image.ref.name": VERSION,
        // What containerd calls it when it is imported.
        "io.containerd.image.name": format!("docker.io/library/{NAME}:{VERSION}"),
    });
    fs::write(oci.join("index.json"), json!({"schemaVersion": 2, "manifests": [entry]}).to_string())?;
    fs::write(oci.join("oci-layout"), json!({"imageLayoutVersion": "1.0.0"}).to_string())?;
    Ok(manifest.digest)
}

impl Blob {
    fn descriptor(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": self.digest, "size": self.size})
    }
}

fn put_json(oci: &Path, value: &Value) -> Result<Blob> {
    put(oci, value.to_string().as_bytes())
}

fn put(oci: &Path, bytes: &[u8]) -> Result<Blob> {
    let digest = digest(bytes);
    let path = oci.join("blobs").join(digest.replace(':', "/"));
    fs::create_dir_all(path.parent().unwrap_or(oci))?;
    fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Blob { digest, size: bytes.len() })
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(bytes))
}

/// Packs what is in `dir`, so that names and contents alone decide the bytes.
pub(super) fn tar(dir: &Path, to: &Path) -> Result<()> {
    let mut tar = Command::new("tar");
    tar.args(["--create", "--format=ustar", "--sort=name", "--mtime=@0"]);
    tar.args(["--owner=0", "--group=0", "--numeric-owner", "--mode=go-w"]);
    command::output(tar.arg("--file").arg(to).arg("--directory").arg(dir).arg(".")).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    const IMAGE: Image = Image { architecture: "amd64", entrypoint: "/usr/bin/closewait-trace" };

    fn made(root: &Path, oci: &Path) -> String {
        write(&IMAGE, root, oci).unwrap()
    }

    fn blob(oci: &Path, descriptor: &Value) -> Vec<u8> {
        let digest = descriptor["digest"].as_str().unwrap();
        let bytes = fs::read(oci.join("blobs").join(digest.replace(':', "/"))).unwrap();
        assert_eq!(super::digest(&bytes), digest);
        assert_eq!(descriptor["size"], bytes.len());
        bytes
    }

    #[test]
    fn each_blob_is_what_it_is_called_and_the_same_files_make_the_same_image() {
        let dir = tempfile::tempdir().unwrap();
        let [root, oci, again] = ["root", "oci", "again"].map(|name| dir.path().join(name));
        let file: PathBuf = root.join("usr/bin/closewait-trace");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "not really").unwrap();
        let digest = made(&root, &oci);

        let read =
            |path: &str| -> Value { serde_json::from_slice(&fs::read(oci.join(path)).unwrap()).unwrap() };
        assert_eq!(read("oci-layout")["imageLayoutVersion"], "1.0.0");
        let index = read("index.json");
        let entry = &index["manifests"][0];
        assert_eq!(entry["digest"], *digest);
        let manifest: Value = serde_json::from_slice(&blob(&oci, entry)).unwrap();
        let config: Value = serde_json::from_slice(&blob(&oci, &manifest["config"])).unwrap();
        assert_eq!(config["config"]["Entrypoint"][0], IMAGE.entrypoint);
        let layer = dir.path().join("layer.gz");
        fs::write(&layer, blob(&oci, &manifest["layers"][0])).unwrap();
        let unpacked = Command::new("gzip").arg("-dc").arg(&layer).output().unwrap().stdout;
        assert_eq!(config["rootfs"]["diff_ids"][0], super::digest(&unpacked));

        // As another time, and by another umask.
        fs::write(&file, "not really").unwrap();
        assert_eq!(made(&root, &again), digest);
        fs::write(&file, "something else").unwrap();
        assert_ne!(made(&root, &again), digest);
    }
}
