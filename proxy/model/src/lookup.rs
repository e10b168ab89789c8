//! Vamp's lookup names: SHA-1 of a class and a key, printed as an integer (leading zeros are dropped).
//! They are visible in REST, logs and cookies, so they match Vamp's to the digit
//! (Vamp 0.9.4, `model/.../artifact/Lookup.scala`).

use sha1::{Digest, Sha1};

fn lookup(class: &str, key: &str) -> String {
    let digest = Sha1::digest(format!("class {class}@{key}v1").as_bytes());
    as_integer(&hex::encode(digest))
}

fn as_integer(digits: &str) -> String {
    match digits.trim_start_matches('0') {
        "" => "0".to_owned(),
        digits => digits.to_owned(),
    }
}

/// Lookup name of an artifact of Vamp's class `io.vamp.model.artifact.<class>`, such as `Deployment`,
/// `DefaultBreed`, `Workflow`.
pub fn artifact(class: &str, name: &str) -> String {
    lookup(&format!("io.vamp.model.artifact.{class}"), name)
}

/// Lookup name of a gateway.
pub fn gateway(name: &str) -> String {
    artifact("Gateway", name)
}

/// Lookup name of a route within a gateway. The gateway's name counts as one part, whatever slashes it has.
pub fn route(gateway: &str, path: &str) -> String {
    let mut key = format!("{gateway}/*/*/*/{path}");
    let segments = if path.starts_with('[') {
        1
    } else {
        path.split('/').count()
    };
    for _ in segments..4 {
        key.push_str("/*");
    }
    artifact("Gateway", &key)
}

/// Lookup name of an instance that Weir runs.
pub fn instance(name: &str) -> String {
    artifact("InternalRouteTarget", name)
}

/// Lookup name of an external target, given as `host:port`.
pub fn external(address: &str) -> String {
    artifact("ExternalRouteTarget", address)
}

/// Name of an ACL: the first 16 digits of SHA-1 over its definition and `0000`.
pub fn acl(definition: &str) -> String {
    let digits = hex::encode(Sha1::digest(format!("{definition}0000").as_bytes()));
    as_integer(&digits.chars().take(16).collect::<String>())
}

#[cfg(test)]
mod tests {
    #[test]
    fn matches_vamps_vectors() {
        assert_eq!(
            super::gateway("sava_gateway"),
            "ebcec0d294fc399c5ee972c43a854e3b643d5ece"
        );
        assert_eq!(
            super::gateway("vamp/sava/port/_"),
            "93a45182d84bf6fc0c3c23c33a9501c7d74be2bb"
        );
        assert_eq!(
            super::artifact("Deployment", "sava"),
            "b745761242ab5566a44b556e62764beed46fa8de"
        );
        assert_eq!(
            super::route("sava:1.0/sava/web", "sava:1.0/sava/sava:1.0/web"),
            "1f2c9bf68395805af6ecd4c389c061dfdd24d62d"
        );
        assert_eq!(
            super::route("vamp/sava/port/_", "vamp/sava/sava:1.0.0/port"),
            "62a11db802baf59987a3ece9e10d8754eca16a09"
        );
        assert_eq!(
            super::instance("64435a223bddf1fa589135baa5e228090279c032"),
            "f52646a39457170e02fb276840a696267e0815eb"
        );
    }
}
