//! From a Dockerfile to a finished Fargate task, without Docker.
pub mod aws;
pub mod build;
pub mod cli;
pub mod deploy;
pub mod dockerfile;
pub mod event;
pub mod graph;
pub mod image;
pub mod layer;
pub mod registry;
pub mod sandbox;
pub mod secret;
pub mod store;
