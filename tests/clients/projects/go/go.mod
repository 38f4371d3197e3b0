module example.farm/app

go 1.19

require (
	github.com/BurntSushi/toml v1.2.1
	github.com/Masterminds/semver/v3 v3.2.1
	github.com/dgrijalva/jwt-go v3.2.0+incompatible
	github.com/docker/go-units v0.5.0
	github.com/fatih/color v1.16.0
	github.com/google/go-cmp v0.5.9
	github.com/google/uuid v1.6.0
	github.com/mattn/go-isatty v0.0.20
	github.com/pkg/errors v0.9.1
	github.com/spf13/pflag v1.0.5
	golang.org/x/exp v0.0.0-20230522175609-2e198f4a06a1
	golang.org/x/text v0.14.0
	gopkg.in/yaml.v3 v3.0.1
)

require (
	github.com/mattn/go-colorable v0.1.13 // indirect
	golang.org/x/sys v0.14.0 // indirect
)
