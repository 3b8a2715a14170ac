package expr

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// What costs more than its arguments are long ends soon, or is refused.
func TestWorkIsCharged(t *testing.T) {
	long := strings.Repeat("a", 64)
	for range 12 { // 256 KiB
		long += long
	}
	long = long[:256<<10]
	delimiters := "createArray('b0'" + strings.Repeat(", 'b1'", 100) + ")"
	for name, text := range map[string]string{
		"split":                "[length(split('" + long + "', " + delimiters + "))]",
		"split-often":          "[length(split('" + strings.Repeat("a,", 128<<10) + "', createArray(','" + strings.Repeat(", 'b1'", 100) + ")))]",
		"intersection":         "[length(intersection(range(0, 10000), range(10000, 10000)))]",
		"union":                "[length(union(range(0, 5000), range(5000, 5000)))]",
		"format":               "[length(format('" + strings.Repeat("{0}", 80<<10) + "', '" + long + "'))]",
		"format-of-array":      "[length(format('" + strings.Repeat("{0}", 80<<10) + "', createArray('" + long + "')))]",
		"contains-in-filter":   "[filter(range(0, 10000), lambda('i', contains(range(0, 10000), lambdaVariables('i'))))]",
		"filter-in-filter":     "[filter(range(0, 10000), lambda('i', empty(filter(range(0, 10000), lambda('j', false())))))]",
		"reduce":               "[reduce(range(0, 10000), createArray(), lambda('v', 'i', concat(lambdaVariables('v'), array(lambdaVariables('i')))))]",
		"replace":              "[length(replace('" + long + "', 'a', '" + long + "'))]",
		"object-intersections": "[intersection(createObject('a', 1)" + strings.Repeat(", createObject('b', 1)", 10000) + ")]",
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // a second on a machine of its own
			defer cancel()
			done := make(chan error, 1)
			go func() {
				_, err := evaluate(text)
				done <- err
			}()
			select {
			case err := <-done:
				if err != nil && !errors.Is(err, ErrBudget) {
					t.Error(err)
				}
			case <-ctx.Done():
				t.Fatal(ctx.Err())
			}
		})
	}
}

func TestWorkKeepsResults(t *testing.T) {
	for text, want := range map[string]string{
		"[split('a,;b,,c', createArray(',;', ',', ';'))]":                                  `["a","b","","c"]`,
		"[split('abcab', createArray('bc', 'ab'))]":                                        `["","c",""]`,
		"[split('abc', createArray('ab', 'abc'))]":                                         `["","c"]`,
		"[split('abc', '')]":                                                               `["abc"]`,
		"[union(createArray(1, '1', json('1.0')), createArray(true(), 'true', null()))]":   `[1,"1",true,"true",null]`,
		"[union(createArray(json('{\"a\":1,\"b\":2}')), json('[{\"b\":2,\"a\":1}]'))]":     `[{"a":1,"b":2}]`,
		"[intersection(createArray(1, 2, 2), createArray(2, json('1e0')))]":                `[1,2,2]`,
		"[union(json('{\"x\":{\"a\":1}}'), json('{\"X\":1}'), json('{\"x\":{\"b\":1}}'))]": `{"x":{"b":1}}`,
		"[union(json('{\"x\":{\"a\":1}}'), json('{\"x\":{\"b\":1}}'), json('{\"x\":2}'))]": `{"x":2}`,
		"[intersection(json('{\"A\":1,\"b\":2}'), json('{\"a\":1}'))]":                     `{"A":1}`,
	} {
		n, err := evaluate(text)
		if err != nil || show(n) != want {
			t.Errorf("%s: got %v, %v, want %s", text, n, err, want)
			continue
		}
	}
}
