//! What `docker.withRegistry` of a Jenkins pipeline does: it signs in with a configuration folder of its own, builds,
//! tags, pushes, and signs out.

use super::Scene;
use crate::docker::Docker;
use std::fs;
use test_kit::temp_dir;

/// Runs it with the robot, once with each of docker's builders.
pub fn check(docker: &Docker, scene: &Scene) {
    let [_, _, robot] = &scene.accounts;
    let (authority, url) = (scene.house.server.authority(), scene.house.server.url());
    for (builder, number) in [("0", "1.0.0"), ("1", "1.0.1")] {
        let (config, workspace) = (temp_dir(), temp_dir());
        fs::write(workspace.path().join("app"), format!("built with {builder}"))
            .expect("a file can be written");
        fs::write(workspace.path().join("Dockerfile"), "FROM scratch\nCOPY app /app\n")
            .expect("a file can be written");
        let run = |words: &[&str]| {
            let cmd = docker.cmd().env("DOCKER_CONFIG", config.path()).env("DOCKER_BUILDKIT", builder);
            cmd.current_dir(workspace.path()).args(words)
        };
        let login = run(&["login", "-u", &robot.name, "--password-stdin", &url]);
        login.stdin(robot.secret.as_str()).run();
        let (local, remote) = (format!("team/built:{number}"), format!("{authority}/team/built:{number}"));
        run(&["build", "-t", &local, "."]).run();
        run(&["tag", &local, &remote]).run();
        run(&["push", &remote]).run();
        run(&["tag", &local, &format!("{authority}/other/built:{number}")]).run();
        run(&["push", &format!("{authority}/other/built:{number}")]).run_to_fail();
        run(&["logout", &url]).run();
        let left =
            fs::read_to_string(config.path().join("config.json")).expect("docker keeps a configuration");
        assert!(!left.contains("auth\"") && !left.contains("identitytoken"), "signed out, and kept {left}");
        run(&["push", &remote]).run_to_fail();

        let tags = scene.house.admin.get("/v2/team/built/tags/list").expect(200).json();
        let tags = tags["tags"].as_array().expect("a list").clone();
        assert!(tags.iter().any(|tag| tag == number), "{tags:?}");
    }
    scene.house.admin.get("/v2/other/built/tags/list").expect(404);
}
