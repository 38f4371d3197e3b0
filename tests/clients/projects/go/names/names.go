// Package names uses one thing of each module.
package names

import (
	"fmt"

	"github.com/BurntSushi/toml"
	"github.com/Masterminds/semver/v3"
	"github.com/dgrijalva/jwt-go"
	"github.com/docker/go-units"
	"github.com/fatih/color"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/mattn/go-isatty"
	"github.com/pkg/errors"
	"github.com/spf13/pflag"
	"golang.org/x/exp/slices"
	"golang.org/x/text/language"
	"gopkg.in/yaml.v3"
)

// All says something of each.
func All() []string {
	var table map[string]int
	if _, err := toml.Decode("a = 1", &table); err != nil {
		panic(err)
	}
	numbers := []int{3, 1, 2}
	slices.Sort(numbers)
	listed, err := yaml.Marshal(numbers)
	if err != nil {
		panic(err)
	}
	color.NoColor = true
	return []string{
		fmt.Sprint(cmp.Equal(table, map[string]int{"a": 1})),
		semver.MustParse("v1.2").String(),
		jwt.SigningMethodHS256.Alg(),
		units.HumanSize(1500),
		color.RedString("red"),
		uuid.Nil.String(),
		fmt.Sprint(isatty.IsTerminal(99)),
		errors.New("wrong").Error(),
		fmt.Sprint(pflag.NewFlagSet("flags", pflag.ContinueOnError).HasFlags()),
		language.German.String(),
		string(listed),
	}
}
