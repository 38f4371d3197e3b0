// A program that needs a module of every kind: capitals, a major version in the path, a dotted one,
// one from before modules, a pseudo-version.
package main

import (
	"fmt"

	"example.farm/app/names"
)

func main() {
	for _, line := range names.All() {
		fmt.Println(line)
	}
}
