use std::process::ExitCode;

fn main() -> ExitCode {
    locus_push::sandbox::look_names_up_alone();
    // A process that the sandbox started for itself does not come back from here.
    locus_push::sandbox::enter_if_asked(locus_push::build::JOBS);
    locus_push::cli::main()
}
