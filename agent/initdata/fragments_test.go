package initdata

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestFragments(t *testing.T) {
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	many := map[string]string{}
	for i := range MaxFragments + 1 {
		many[fmt.Sprintf("fragment.%d.cose", i)] = b64("x")
	}
	big := map[string]string{}
	for i := range MaxFragmentBytes/MaxFragment + 1 {
		big[fmt.Sprintf("fragment.%d.cose", i)] = b64(strings.Repeat("x", MaxFragment))
	}
	for _, c := range []struct {
		name  string
		data  map[string]string
		want  []string
		wrong string
	}{
		{"none", map[string]string{PolicyKey: "x"}, nil, ""},
		{"by-number", map[string]string{"fragment.10.cose": b64("c"), "fragment.9.cose": b64("b"), "fragment.0.cose": b64("a"), "other": "x"}, []string{"a", "b", "c"}, ""},
		{"line-feeds", map[string]string{"fragment.1.cose": b64("abcdef")[:4] + "\n" + b64("abcdef")[4:] + "\n"}, []string{"abcdef"}, ""},
		{"leading-zero", map[string]string{"fragment.01.cose": b64("a")}, nil, "entry name"},
		{"no-number", map[string]string{"fragment.cose": b64("a")}, nil, "entry name"},
		{"word", map[string]string{"fragment.a.cose": b64("a")}, nil, "entry name"},
		{"other-end", map[string]string{"fragment.1.rego": "package x"}, nil, "entry name"},
		{"large-number", map[string]string{"fragment.1000000.cose": b64("a")}, nil, "entry name"},
		{"not-base64", map[string]string{"fragment.1.cose": "package x"}, nil, "not base64"},
		{"url-base64", map[string]string{"fragment.1.cose": "-_-_"}, nil, "not base64"},
		{"loose-bits", map[string]string{"fragment.1.cose": "YR=="}, nil, "not base64"},
		{"too-many", many, nil, "fragments, want at most"},
		{"one-too-large", map[string]string{"fragment.1.cose": b64(strings.Repeat("x", MaxFragment+1))}, nil, "bytes"},
		{"all-too-large", big, nil, "bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := (&Document{Data: c.data}).Fragments()
			if c.wrong != "" {
				if got != nil || !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), c.wrong) {
					t.Errorf("got %d fragments, %v, want an error about %q", len(got), err, c.wrong)
				}
				return
			}
			if err != nil || fmt.Sprintf("%s", got) != fmt.Sprintf("%s", c.want) {
				t.Errorf("got %s, %v, want %s", got, err, c.want)
			}
		})
	}
}
