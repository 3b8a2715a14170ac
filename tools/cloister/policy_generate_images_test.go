package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/tools/cloister/images"
	"github.com/cloister-cc/cloister/tools/cloister/progress"
)

func TestLayerBars(t *testing.T) {
	var out bytes.Buffer
	show := layerBars(progress.New(&out, true))
	layer := func(c string) string { return "sha256:" + strings.Repeat(c, 64) }
	show(images.Progress{Reference: "small", Layer: layer("a"), Read: 10, Size: 20})
	show(images.Progress{Reference: "known", Layer: layer("b"), Size: slowLayer, Done: true})
	if out.Len() > 0 {
		t.Errorf("what takes no time is shown: %q", out.String())
	}
	for _, read := range []int64{0, slowLayer / 2, slowLayer} {
		show(images.Progress{Reference: "large", Layer: layer("c"), Read: read, Size: slowLayer})
	}
	show(images.Progress{Reference: "large", Layer: layer("c"), Read: slowLayer, Size: slowLayer, Done: true})
	if !strings.Contains(out.String(), "large cccccccccccc") || strings.Contains(out.String(), "small") {
		t.Errorf("got %q, want the large layer only", out.String())
	}
}
