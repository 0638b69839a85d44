package config

import (
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestAVariableThatIsCheckedSaysWhatItMustBe(t *testing.T) {
	t.Parallel()
	checked := slices.Collect(maps.Keys(Config{}.inRange()))
	var known []string
	for field := range reflect.TypeFor[Config]().Fields() {
		name := field.Tag.Get("env")
		known = append(known, name)
		if slices.Contains(checked, name) || field.Type.Kind() != reflect.String {
			assert.NotEmpty(t, field.Tag.Get("must"), name)
		}
	}
	assert.Subset(t, known, checked, "a check of a variable that doesn't exist checks nothing")
}
