package names

import "testing"

func TestEveryModuleAnswers(t *testing.T) {
	if found := len(All()); found != 11 {
		t.Fatalf("%d lines", found)
	}
}
