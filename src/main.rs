fn main() -> std::process::ExitCode {
    locus_push::cli::main()
}
