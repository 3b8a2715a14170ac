package cases

import (
	"fmt"
	"strings"

	"github.com/cloister-cc/cloister/enforcer"
)

// Released are the families that tools write, and that most policies in use have.
func Released() []Family {
	return []Family{
		{API: "0.10.0", Framework: "0.2.3"},
		{API: "0.10.0", Framework: "0.3.0"},
		{API: "0.11.0", Framework: "0.4.1"},
		{API: "0.12.0", Framework: "0.5.0"},
	}
}

var apiVersions = []string{
	"0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "0.9.0", "0.10.0", "0.11.0", "0.11.1", "0.12.0",
}

var frameworkVersions = []string{"0.1.0", "0.2.0", "0.2.1", "0.2.2", "0.2.3", "0.3.0", "0.4.0", "0.4.1", "0.5.0"}

func family(s *source, opt Options) Family {
	if len(opt.Families) > 0 {
		return pick(s, opt.Families...)
	}
	f := pick(s, Released()...)
	if s.chance(40) {
		f = Family{API: pick(s, apiVersions...), Framework: pick(s, frameworkVersions...)}
	}
	if s.chance(4) {
		f.Framework = pick(s, "", "0.6.0", "1.0.0", "0.5", "new")
	}
	if s.chance(2) {
		f.API = pick(s, "", "0.13.0", "1.0.0")
	}
	f.OldNames = s.chance(15)
	return f
}

// before says whether version a is older than b. What is no version is older than none.
func before(a, b string) bool {
	va, okA := version(a)
	vb, okB := version(b)
	if !okA || !okB {
		return false
	}
	for i := range va {
		if va[i] != vb[i] {
			return va[i] < vb[i]
		}
	}
	return false
}

func version(text string) (v [3]int, ok bool) {
	if strings.Count(text, ".") != 2 {
		return v, false
	}
	_, err := fmt.Sscanf(text, "%d.%d.%d", &v[0], &v[1], &v[2])
	return v, err == nil
}

// points are the rules the policy has: those of its time, seldom without one of them or with all there are.
func points(s *source, api string) []enforcer.Point {
	var list []enforcer.Point
	newer := s.chance(5)
	for _, info := range enforcer.Points() {
		if newer || !before(api, info.Since) {
			list = append(list, info.Point)
		}
	}
	if len(list) > 0 && s.chance(12) {
		list = without(list, s.IntN(len(list)))
	}
	return list
}
