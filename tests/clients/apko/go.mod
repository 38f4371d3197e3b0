// The apko that tests run; built by the machine's own go, through its own module proxy.
module tests.example/apko

go 1.23.0

require chainguard.dev/apko v0.20.0
