package verity_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/cloister-cc/cloister/verity"
)

const benchSize = 256 << 20

// randomBytes are bytes without a pattern.
func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(b) // does not fail
	return b
}

// BenchmarkBuild hashes from memory and from a file in the page cache.
func BenchmarkBuild(b *testing.B) {
	data := randomBytes(benchSize)
	path := filepath.Join(b.TempDir(), "data")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		b.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for _, workers := range []int{1, 2} {
		for name, from := range map[string]io.ReaderAt{"memory": bytes.NewReader(data), "file": f} {
			b.Run(fmt.Sprintf("%s-workers-%d", name, workers), func(b *testing.B) {
				b.SetBytes(benchSize)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := verity.Build(context.Background(), from, benchSize, nil, verity.BuildOptions{Workers: workers}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkTreeHasher hashes what is written, on one other goroutine and on two.
func BenchmarkTreeHasher(b *testing.B) {
	data := randomBytes(benchSize)
	for _, workers := range []int{1, 2} {
		b.Run(fmt.Sprintf("workers-%d", workers), func(b *testing.B) {
			b.SetBytes(benchSize)
			b.ReportAllocs()
			for b.Loop() {
				h := newTree(b, verity.TreeOptions{BuildOptions: verity.BuildOptions{Workers: workers}})
				for at := 0; at < len(data); at += 1 << 20 {
					if _, err := h.Write(data[at : at+1<<20]); err != nil {
						b.Fatal(err)
					}
				}
				if err := finish(h, benchSize); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
