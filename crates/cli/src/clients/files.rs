//! The files, as each client reads them.

use client::Host;
use serde_json::json;

use crate::args::machines::Namespace;

/// Where containerd looks for what holds for all registries.
const CONTAINERD: &str = "/etc/containerd/certs.d/_default";

/// A registry, as machines reach it.
pub(super) struct Mirror {
    pub(super) host: Host,
    pub(super) is_plain: bool,
    /// What they are to trust, in PEM.
    pub(super) ca: Option<String>,
}

/// A file in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) path: String,
    pub(super) content: String,
    /// Whether it says itself where it belongs.
    pub(super) has_comments: bool,
}

impl Mirror {
    fn url(&self) -> String {
        format!("{}://{}", if self.is_plain { "http" } else { "https" }, self.host)
    }

    /// The certificate at a place.
    fn certificate(&self, path: String) -> Option<File> {
        let content = self.ca.clone()?;
        Some(File { path, content, has_comments: false })
    }
}

/// A file that begins with its own path.
fn commented(path: &str, content: &str) -> File {
    let content = format!("# {path}\n{content}");
    File { path: path.to_owned(), content, has_comments: true }
}

/// dockerd asks a mirror for what Docker Hub has, without a path before the name and without any credential.
pub(super) fn docker(mirror: &Mirror) -> Vec<File> {
    let mut daemon = json!({"registry-mirrors": [mirror.url()]});
    if mirror.is_plain && !mirror.host.is_loopback() {
        daemon["insecure-registries"] = json!([mirror.host.as_str()]);
    }
    let daemon = File {
        path: "/etc/docker/daemon.json".into(),
        content: format!("{daemon:#}\n"),
        has_comments: false,
    };
    let certificate = mirror.certificate(format!("/etc/docker/certs.d/{}/ca.crt", mirror.host));
    std::iter::once(daemon).chain(certificate).collect()
}

/// containerd asks whom `_default` names for whatever registry, and tells it in `ns` which one it means.
pub(super) fn containerd(mirror: &Mirror) -> Vec<File> {
    let certificate = mirror.certificate(format!("{CONTAINERD}/ca.crt"));
    let hosts = commented(&format!("{CONTAINERD}/hosts.toml"), &hosts(mirror));
    std::iter::once(hosts).chain(certificate).collect()
}

fn hosts(mirror: &Mirror) -> String {
    let ca = match &mirror.ca {
        Some(_) => format!("  ca = \"{CONTAINERD}/ca.crt\"\n"),
        None => String::new(),
    };
    format!(
        "# containerd reads this folder where its config.toml has these lines. containerd 1.x:
#   [plugins.\"io.containerd.grpc.v1.cri\".registry]
#     config_path = \"/etc/containerd/certs.d\"
# containerd 2.x:
#   [plugins.\"io.containerd.cri.v1.images\".registry]
#     config_path = \"/etc/containerd/certs.d\"
# What the registry below cannot answer is asked for where it comes from.
[host.\"{}\"]
  capabilities = [\"pull\", \"resolve\"]
{ca}",
        mirror.url()
    )
}

/// podman, CRI-O and their like rewrite names: each registry has a prefix here.
pub(super) fn containers(mirror: &Mirror, namespaces: &[Namespace]) -> Vec<File> {
    let insecure = if mirror.is_plain { "insecure = true\n" } else { "" };
    let one = |Namespace { host, key }: &Namespace| {
        format!(
            "\n[[registry]]\nprefix = \"{host}\"\nlocation = \"{host}\"\n\n\
             [[registry.mirror]]\nlocation = \"{}/{key}\"\n{insecure}",
            mirror.host
        )
    };
    let content: String = namespaces.iter().map(one).collect();
    let registries = commented("/etc/containers/registries.conf.d/50-wharf.conf", &content);
    let certificate = mirror.certificate(format!("/etc/containers/certs.d/{}/ca.crt", mirror.host));
    std::iter::once(registries).chain(certificate).collect()
}

/// The files of containerd in a ConfigMap, and as they stand on the nodes.
pub(super) fn k8s(mirror: &Mirror) -> Vec<File> {
    let files = containerd(mirror);
    let mut content = String::from(
        "# The files of containerd on each node. What makes the nodes (cloud-init, kubeadm, an image) puts them into
# /etc/containerd/certs.d/_default, and `config_path` into config.toml, as hosts.toml says.
apiVersion: v1
kind: ConfigMap
metadata:
  name: wharf-containerd
  namespace: kube-system
data:
",
    );
    for file in &files {
        let name = file.path.rsplit('/').next().unwrap_or_default();
        content.push_str(&format!("  {name}: |\n"));
        content.extend(file.content.lines().map(|line| format!("    {}\n", line.trim_end())));
    }
    let map = commented("wharf-containerd.configmap.yaml", &content);
    std::iter::once(map).chain(files).collect()
}

/// What Jenkins' controller hands to all builds, and the docker of its agents.
pub(super) fn jenkins(mirror: &Mirror) -> Vec<File> {
    let content = format!(
        "# In a pipeline: docker.withRegistry(env.REGISTRY_URL, 'registry') {{ ... }}, with the credential of `wharf secret jenkins`.
jenkins:
  globalNodeProperties:
    - envVars:
        env:
          - key: \"REGISTRY\"
            value: \"{}\"
          - key: \"REGISTRY_URL\"
            value: \"{}\"
",
        mirror.host,
        mirror.url()
    );
    let controller = commented("/var/jenkins_home/casc_configs/wharf.yaml", &content);
    std::iter::once(controller).chain(docker(mirror)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror(host: &str, is_plain: bool) -> Mirror {
        let ca = (!is_plain).then(|| "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n".into());
        Mirror { host: host.parse().unwrap(), is_plain, ca }
    }

    #[track_caller]
    fn check(files: &[File], expect: &[(&str, &str)]) {
        let found: Vec<_> = files.iter().map(|file| (file.path.as_str(), file.content.as_str())).collect();
        assert_eq!(found, expect);
    }

    const CA: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

    #[test]
    fn docker_has_a_mirror() {
        let daemon = "{\n  \"registry-mirrors\": [\n    \"https://r.example:5000\"\n  ]\n}\n";
        check(
            &docker(&mirror("r.example:5000", false)),
            &[("/etc/docker/daemon.json", daemon), ("/etc/docker/certs.d/r.example:5000/ca.crt", CA)],
        );
        let daemon = "{\n  \"registry-mirrors\": [\n    \"http://127.0.0.1:5000\"\n  ]\n}\n";
        check(&docker(&mirror("127.0.0.1:5000", true)), &[("/etc/docker/daemon.json", daemon)]);
        let daemon = docker(&mirror("r.example", true)).remove(0).content;
        assert!(daemon.contains("\"insecure-registries\": [\n    \"r.example\"\n  ]"), "{daemon}");
    }

    const HOSTS: &str = r#"# /etc/containerd/certs.d/_default/hosts.toml
# containerd reads this folder where its config.toml has these lines. containerd 1.x:
#   [plugins."io.containerd.grpc.v1.cri".registry]
#     config_path = "/etc/containerd/certs.d"
# containerd 2.x:
#   [plugins."io.containerd.cri.v1.images".registry]
#     config_path = "/etc/containerd/certs.d"
# What the registry below cannot answer is asked for where it comes from.
[host."https://r.example:5000"]
  capabilities = ["pull", "resolve"]
  ca = "/etc/containerd/certs.d/_default/ca.crt"
"#;

    #[test]
    fn containerd_has_one_file_for_all_registries() {
        check(
            &containerd(&mirror("r.example:5000", false)),
            &[
                ("/etc/containerd/certs.d/_default/hosts.toml", HOSTS),
                ("/etc/containerd/certs.d/_default/ca.crt", CA),
            ],
        );
        let hosts = containerd(&mirror("127.0.0.1:5000", true)).remove(0).content;
        let end = "[host.\"http://127.0.0.1:5000\"]\n  capabilities = [\"pull\", \"resolve\"]\n";
        assert!(hosts.ends_with(end), "{hosts}");
    }

    #[test]
    fn podman_has_a_prefix_for_each_registry() {
        let namespaces = [("docker.io", "dockerhub"), ("quay.io", "quay")];
        let namespaces = namespaces.map(|(host, key)| Namespace::new(host, key).unwrap());
        let registries = r#"# /etc/containers/registries.conf.d/50-wharf.conf

[[registry]]
prefix = "docker.io"
location = "docker.io"

[[registry.mirror]]
location = "r.example:5000/dockerhub"

[[registry]]
prefix = "quay.io"
location = "quay.io"

[[registry.mirror]]
location = "r.example:5000/quay"
"#;
        let path = "/etc/containers/registries.conf.d/50-wharf.conf";
        check(
            &containers(&mirror("r.example:5000", false), &namespaces),
            &[(path, registries), ("/etc/containers/certs.d/r.example:5000/ca.crt", CA)],
        );
        let registries = containers(&mirror("127.0.0.1:5000", true), &namespaces[..1]).remove(0).content;
        assert!(
            registries.ends_with("location = \"127.0.0.1:5000/dockerhub\"\ninsecure = true\n"),
            "{registries}"
        );
    }

    #[test]
    fn kubernetes_has_the_files_in_a_map() {
        let files = k8s(&mirror("r.example:5000", false));
        let map = &files[0].content;
        let head = "# wharf-containerd.configmap.yaml\n";
        assert!(map.starts_with(head), "{map}");
        let data = map.split_once("\ndata:\n").unwrap().1;
        let indented = |text: &str| -> String { text.lines().map(|line| format!("    {line}\n")).collect() };
        assert_eq!(data, format!("  hosts.toml: |\n{}  ca.crt: |\n{}", indented(HOSTS), indented(CA)));
        assert_eq!(files[1..], containerd(&mirror("r.example:5000", false)));
    }

    #[test]
    fn jenkins_knows_the_registry_and_its_agents_use_it() {
        let files = jenkins(&mirror("r.example:5000", false));
        let controller = "jenkins:
  globalNodeProperties:
    - envVars:
        env:
          - key: \"REGISTRY\"
            value: \"r.example:5000\"
          - key: \"REGISTRY_URL\"
            value: \"https://r.example:5000\"
";
        assert_eq!(files[0].path, "/var/jenkins_home/casc_configs/wharf.yaml");
        assert!(files[0].content.ends_with(controller), "{}", files[0].content);
        assert_eq!(files[1..], docker(&mirror("r.example:5000", false)));
    }

    #[test]
    fn namespaces_are_names() {
        for (host, key) in
            [("docker.io\"", "hub"), ("docker.io", "Hub"), ("docker.io", "hub\"\n"), ("", "hub")]
        {
            assert!(Namespace::new(host, key).is_err(), "{host} {key}");
        }
    }
}
