package signature

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// maxLayoutDepth bounds indexes in indexes.
const maxLayoutDepth = 4

// offline reads what the user gives instead of a registry: a file of Sigstore bundles (one JSON document or several, one after
// the other), a directory of such files, or an OCI layout that holds signatures ("cosign save", "oras copy").
func (g *gathered) offline(ctx context.Context, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return g.bundleFile(path)
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return err
	}
	defer root.Close()
	if _, err := root.Stat("index.json"); err == nil {
		return g.layout(ctx, path, root)
	}
	return g.bundleFiles(path)
}

// bundleFiles reads the files *.json and *.jsonl of a directory, in their order.
func (g *gathered) bundleFiles(dir string) error {
	names, err := listFiles(dir, ".json", ".jsonl")
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return fmt.Errorf("%s: has neither an index.json nor a file *.json or *.jsonl", dir)
	}
	for _, name := range names {
		if err := g.bundleFile(name); err != nil {
			return err
		}
	}
	return nil
}

func (g *gathered) bundleFile(path string) error {
	raw, err := readFile(path, maxBundle)
	if err != nil {
		return err
	}
	if err := g.count(raw); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	for n := 1; ; n++ {
		var doc json.RawMessage
		if err := d.Decode(&doc); errors.Is(err, io.EOF) && n > 1 {
			return nil
		} else if err != nil {
			return fmt.Errorf("%s: document %d: %w", path, n, err)
		}
		if err := g.add(candidate{where: fmt.Sprintf("%s, document %d", path, n), bundle: doc}); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
}

// layoutBlobs reads an OCI layout. It cannot lead out of its directory, and every blob is hashed.
type layoutBlobs struct{ root *os.Root }

func (l layoutBlobs) Blob(_ context.Context, d v1.Descriptor) ([]byte, error) {
	if d.Digest.Algorithm != "sha256" || len(d.Digest.Hex) != sha256.Size*2 {
		return nil, fmt.Errorf("blob %s: want a SHA-256 digest", quote(d.Digest.String()))
	}
	f, err := l.root.Open(filepath.Join("blobs", d.Digest.Algorithm, d.Digest.Hex))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := readAll(f, maxBundle)
	if err != nil {
		return nil, fmt.Errorf("blob %s: %w", d.Digest, err)
	}
	if sum := sha256.Sum256(raw); hex.EncodeToString(sum[:]) != d.Digest.Hex {
		return nil, fmt.Errorf("blob %s: its bytes have the digest sha256:%x", d.Digest, sum)
	}
	return raw, nil
}

// layout takes every signature in an OCI layout, whatever it is of: which image is said by what is signed.
func (g *gathered) layout(ctx context.Context, path string, root *os.Root) error {
	f, err := root.Open("index.json")
	if err != nil {
		return err
	}
	defer f.Close()
	raw, err := readAll(f, maxBundle)
	if err != nil {
		return fmt.Errorf("%s: index.json: %w", path, err)
	}
	from := layoutBlobs{root}
	todo, left := [][]byte{raw}, maxReferrers
	for range maxLayoutDepth {
		var next [][]byte
		for _, raw := range todo {
			index, err := v1.ParseIndexManifest(bytes.NewReader(raw))
			if err != nil {
				return fmt.Errorf("%s: index: %w", path, err)
			}
			for _, d := range index.Manifests {
				if left--; left < 0 {
					return fmt.Errorf("%s: got more than %d manifests", path, maxReferrers)
				}
				raw, err := from.Blob(ctx, d)
				switch {
				case errors.Is(err, fs.ErrNotExist):
					continue // a layout need not hold everything that its index names
				case err != nil:
					return fmt.Errorf("%s: %w", path, err)
				case d.MediaType.IsIndex():
					next = append(next, raw)
					continue
				}
				where := fmt.Sprintf("%s, manifest %s", path, d.Digest)
				if err := g.manifest(ctx, where, raw, from); err != nil {
					return fmt.Errorf("%s: %w", path, err)
				}
			}
		}
		todo = next
	}
	return nil
}

// listFiles are the files of a directory with one of the suffixes.
func listFiles(dir string, suffixes ...string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		for _, s := range suffixes {
			if !e.IsDir() && strings.HasSuffix(strings.ToLower(e.Name()), s) {
				names = append(names, filepath.Join(dir, e.Name()))
			}
		}
	}
	if len(names) > maxTrustFiles {
		return nil, fmt.Errorf("%s: got %d files, want at most %d", dir, len(names), maxTrustFiles)
	}
	return names, nil
}

func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := readAll(f, limit)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return raw, nil
}

func readAll(r io.Reader, limit int64) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = fmt.Errorf("got more than %d bytes", limit)
	}
	return raw, err
}
