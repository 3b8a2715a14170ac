package main

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/verity"
	"github.com/cloister-cc/cloister/verity/layer"
)

// TestFlips: one bit in the tree's top changes the root, one bit in the data does not, and both are seen.
func TestFlips(t *testing.T) {
	ctx := t.Context()
	l, err := fileLayer("etc/nginx/nginx.conf", "server { "+portLine+" }\n")
	if err != nil {
		t.Fatal(err)
	}
	disk, root, err := layer.Cache{Dir: t.TempDir()}.Get(ctx, l.DiffID, l.Open)
	if err != nil {
		t.Fatal(err)
	}
	img, err := layer.InspectFile(ctx, disk, true)
	if err != nil {
		t.Fatal(err)
	}
	at, err := findOnce(disk, img.DataSize(), portLine)
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name     string
		at       int64
		sameRoot bool
	}{
		{"tree", img.DataSize() + verity.BlockSize, false},
		{"data", at + int64(len("listen ")), true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d := newTestDemo(t, nil)
			if err := os.MkdirAll(d.file(""), 0o700); err != nil {
				t.Fatal(err)
			}
			copied, err := d.flipped(disk, c.at)
			if err != nil {
				t.Fatal(err)
			}
			changed, err := layer.InspectFile(ctx, copied, false)
			if err != nil {
				t.Fatal(err)
			}
			if (changed.Root == root) != c.sameRoot {
				t.Errorf("root got %s, was %s", changed.Root, root)
			}
			var corrupt *verity.CorruptError
			if _, err := layer.InspectFile(ctx, copied, true); !errors.As(err, &corrupt) {
				t.Errorf("got %v, want that a block does not match the tree", err)
			}
			if c.sameRoot {
				if _, err := findOnce(copied, img.DataSize(), "listen 9080;"); err != nil {
					t.Error(err)
				}
			}
			if _, err := d.flipped(disk, img.DiskSize()+1<<20); err == nil {
				t.Error("an offset behind the disk: got no error")
			}
		})
	}
	if _, err := findOnce(disk, img.DataSize(), "not there"); err == nil || !strings.Contains(err.Error(), "found 0 times") {
		t.Errorf("got %v", err)
	}
}
