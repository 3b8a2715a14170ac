package explain_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/entry"
	"github.com/cloister-cc/cloister/enforcer/explain"
)

// FuzzNearest: whatever the policy and the host say, there is an answer, always the same one, on printable lines of bounded
// length, and no value of a variable is in it.
func FuzzNearest(f *testing.F) {
	add := func(point enforcer.Point, in enforcer.Input, c *entry.Container) {
		input, err := json.Marshal(in)
		if err != nil {
			f.Fatal(err)
		}
		containers, err := json.Marshal([]*entry.Container{c, nil, {}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(point), input, containers, true)
	}
	add(enforcer.PointCreateContainer, fitting(), web(0))
	other := fitting()
	other.EnvList, other.Mounts[0].Options = []string{"=", "X", "MODE=slow", "\xff=\n"}, nil
	add(enforcer.PointCreateContainer, other, &entry.Container{CommandNull: true, EnvRules: []*entry.EnvRule{nil, {Whole: true, Pattern: "(", Strategy: "re2"}}})
	add(enforcer.PointExecInContainer, enforcer.ExecInContainerInput{ArgList: []string{"/bin/check"}}, web(0))
	add(enforcer.PointMountOverlay, enforcer.MountOverlayInput{LayerPaths: []string{"/m/1", "/m/2"}}, web(0))
	add(enforcer.PointMountDevice, enforcer.MountDeviceInput{DeviceHash: "top"}, web(0))
	add(enforcer.PointSignalContainerProcess, enforcer.SignalContainerProcessInput{Signal: 15}, web(0))
	f.Fuzz(func(t *testing.T, point string, input, containers []byte, redact bool) {
		in, err := enforcer.DecodeInput(enforcer.Point(point), input)
		if err != nil {
			return
		}
		var list []*entry.Container
		if json.Unmarshal(containers, &list) != nil {
			return
		}
		opts := options()
		opts.Redact = redact
		m, ok := explain.Nearest(list, in, opts)
		again, okAgain := explain.Nearest(list, in, opts)
		if ok != okAgain || !reflect.DeepEqual(m, again) {
			t.Fatalf("got %+v, then %+v", m, again)
		}
		for _, d := range m.Differences {
			for _, text := range []string{d.Field, d.Wanted, d.Got} {
				if len(text) > 4096 || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
					t.Errorf("got %q", text)
				}
			}
			if name, value, found := strings.Cut(d.Got, "="); strings.HasPrefix(d.Field, "process.env ") && found && !strings.HasSuffix(value, "<<redacted>>") {
				t.Errorf("got %q of %q", value, name)
			}
		}
		for _, c := range explain.Fitting(list, in, opts) {
			if c == nil {
				t.Error("a container that does not exist fits")
			}
		}
	})
}
