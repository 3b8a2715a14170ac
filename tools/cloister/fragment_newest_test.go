package main

import (
	"strings"
	"testing"
)

// Of several fragments one is chosen only where there is no doubt which.
func TestFragmentNewest(t *testing.T) {
	one := func(text string) *pulled { // issuer feed svn document
		f := strings.Fields(text)
		return &pulled{Issuer: f[0], Feed: f[1], SVN: f[2], SHA256: f[3]}
	}
	for name, c := range map[string]struct {
		list []string
		want string // document, or a part of the error
	}{
		"one":                {[]string{"a f 1 x"}, "x"},
		"one-old-form":       {[]string{"a f 1.0.0 x"}, "x"},
		"newest-first":       {[]string{"a f 10 x", "a f 9 y"}, "x"},
		"newest-last":        {[]string{"a f 9 x", "a f 10 y"}, "y"},
		"same-twice":         {[]string{"a f 1 x", "a f 1 x"}, "x"},
		"two-of-one-svn":     {[]string{"a f 1 x", "a f 1 y"}, "several fragments have SVN 1"},
		"two-below-a-newer":  {[]string{"a f 1 x", "a f 1 y", "a f 2 z"}, "z"},
		"two-above-an-older": {[]string{"a f 1 x", "a f 2 y", "a f 2 z"}, "several fragments have SVN 2"},
		"two-issuers":        {[]string{"a f 1 x", "b f 2 y"}, "2 fragments are there"},
		"two-feeds":          {[]string{"a f 1 x", "a g 2 y"}, "2 fragments are there"},
		"old-form-among":     {[]string{"a f 1 x", "a f 1.0.0 y"}, "2 fragments are there"},
	} {
		var list []*pulled
		for _, text := range c.list {
			list = append(list, one(text))
		}
		got, err := newest(list)
		if err == nil && got.SHA256 != c.want || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %+v, %v, want %s", name, got, err, c.want)
		}
	}
}
