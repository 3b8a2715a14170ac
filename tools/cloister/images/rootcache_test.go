package images

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cloister-cc/cloister/verity/layer"
)

// seen counts the layers that were read to their end.
type seen struct {
	mu   sync.Mutex
	done map[string]int
}

func (s *seen) tell(p Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done == nil {
		s.done = map[string]int{}
	}
	if p.Done {
		s.done[p.Layer]++
	}
	if p.Read > p.Size || p.Done && p.Read != p.Size || p.Reference == "" {
		s.done[fmt.Sprintf("wrong progress %+v", p)]++
	}
}

// Layers that images share are read once, and a second run reads none.
func TestLayersReadOnce(t *testing.T) {
	images := map[string]*testImage{}
	var refs []string
	want := map[string]int{}
	for i := range 6 {
		img := newImage(t, "shared", fmt.Sprint("own ", i/2), "shared too")
		ref := fmt.Sprintf("app-%d:1", i)
		images[ref] = img
		refs = append(refs, ref)
		for _, raw := range img.tars {
			want[sha(raw)] = 1
		}
	}
	dir := writeLayout(t, t.TempDir(), images)
	cache := t.TempDir()
	for run, wanted := range []map[string]int{want, {}} {
		var s seen
		r := open(t, Options{Layouts: []string{dir}, Cache: cache, Workers: 3, Progress: s.tell})
		got, err := r.All(t.Context(), refs)
		if err != nil {
			t.Fatal(err)
		}
		for i, img := range got {
			images[refs[i]].check(t, img)
		}
		if fmt.Sprint(s.done) != fmt.Sprint(wanted) && (run == 0 || len(s.done) > 0) {
			t.Errorf("run %d: read %v, want %v", run, s.done, wanted)
		}
	}
}

// Layers of different images are read side by side, and no more of them than were allowed.
func TestLayersSideBySide(t *testing.T) {
	const workers, count = 2, 6
	images := map[string]*testImage{}
	var refs []string
	for i := range count {
		ref := fmt.Sprintf("app-%d:1", i)
		refs, images[ref] = append(refs, ref), newImage(t, fmt.Sprint("own ", i))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var mu sync.Mutex
	now, most := map[string]bool{}, 0
	together := make(chan struct{})
	begin := func(p Progress) (first bool) {
		mu.Lock()
		defer mu.Unlock()
		if p.Done {
			delete(now, p.Layer)
			return false
		}
		first = !now[p.Layer]
		now[p.Layer] = true
		if most = max(most, len(now)); most == workers && first {
			select {
			case <-together:
			default:
				close(together)
			}
		}
		return first
	}
	tell := func(p Progress) {
		if !begin(p) {
			return
		}
		select {
		case <-together: // the first ones wait for each other
		case <-ctx.Done():
		}
	}
	r := open(t, Options{Layouts: []string{writeLayout(t, t.TempDir(), images)}, Workers: workers, Progress: tell})
	if _, err := r.All(ctx, refs); err != nil {
		t.Fatal(err)
	}
	if most != workers {
		t.Errorf("got %d layers at a time, want %d", most, workers)
	}
}

func TestRootCacheContent(t *testing.T) {
	dir := t.TempDir()
	c := rootCache(dir)
	id := "sha256:" + root2
	if root, ok := c.get(id, layer.Ext4); ok {
		t.Errorf("an empty cache: got %s", root)
	}
	c.put(id, layer.Ext4, root1)
	if root, ok := c.get(id, layer.Ext4); !ok || root != root1 {
		t.Errorf("got %q, %v", root, ok)
	}
	if root, ok := c.get(id, layer.EROFS); ok {
		t.Errorf("another format: got %s", root)
	}
	path := c.path(id, layer.Ext4)
	good := string(must(os.ReadFile(path))(t))
	for name, text := range map[string]string{
		"empty":         "",
		"root-only":     root1 + "\n",
		"other-version": strings.Replace(good, "ext4-", "ext4-0", 1),
		"other-layer":   strings.Replace(good, root2, root1, 1),
		"no-root":       strings.Replace(good, root1, root1[:63]+"x", 1),
		"trailing":      good + "x",
		"cut":           good[:len(good)-1],
		"huge":          good + strings.Repeat(" ", 1<<20),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if root, ok := c.get(id, layer.Ext4); ok {
			t.Errorf("%s: got %s, want none", name, root)
		}
	}
	// A damaged file is replaced, and nothing else is left in the directory.
	c.put(id, layer.Ext4, root1)
	if root, ok := c.get(id, layer.Ext4); !ok || root != root1 {
		t.Errorf("after damage: got %q, %v", root, ok)
	}
	if files := must(os.ReadDir(filepath.Dir(path)))(t); len(files) != 1 {
		t.Errorf("got %v, want one file", files)
	}
	// A cache that cannot be written is none.
	rootCache(path).put(id, layer.Ext4, root1)
	rootCache("").put(id, layer.Ext4, root1)
}

func TestRootCacheShared(t *testing.T) {
	c := rootCache(t.TempDir())
	var g errgroup.Group
	for range 8 {
		g.Go(func() error {
			for i := range 50 {
				id := fmt.Sprintf("sha256:%064x", i%5)
				root := fmt.Sprintf("%064x", i%5+100)
				c.put(id, layer.Ext4, root)
				if got, ok := c.get(id, layer.Ext4); !ok || got != root {
					return fmt.Errorf("got %q, %v, want %s", got, ok, root)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

// The default is in the user's cache directory.
func TestRootCacheDefault(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	img := newImage(t, "base")
	dir := writeLayout(t, t.TempDir(), map[string]*testImage{"web:1": img})
	check := func() {
		r := must(Open(t.Context(), Options{Layouts: []string{dir}}))(t)
		defer r.Close()
		img.check(t, must(r.Image(t.Context(), "web:1"))(t))
	}
	check()
	if _, err := os.Stat(rootCache(filepath.Join(os.Getenv("XDG_CACHE_HOME"), "cloister", "roots")).path(sha(img.tars[0]), layer.Ext4)); err != nil {
		t.Error(err)
	}
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("HOME", "")
	check() // a user without a home has no cache, and still an answer
}
