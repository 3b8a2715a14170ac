package main

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/gzip"
)

// layerInputs are the paths of the tars that are converted.
type layerInputs struct{ files, big, filesGzip, shortGzip, short, long, pod string }

const (
	manyFiles = 33_000
	podImages = 5
	podLayers = 4 // of each image
)

// makeLayers writes them: one of 488 MB in 33,000 files, as a distribution's layer has them, also compressed; one of 700 MB in two;
// one of 256 MiB in four, also compressed, and one of 2 GiB; and 20 of a pod, 1.9 GiB together.
func (b *bench) makeLayers() (layerInputs, error) {
	dir := filepath.Join(b.scratch, "layers")
	in := layerInputs{
		filepath.Join(dir, "files.tar"), filepath.Join(dir, "big.tar"), filepath.Join(dir, "files.tar.gz"), filepath.Join(dir, "short.tar.gz"),
		filepath.Join(dir, "short.tar"), filepath.Join(dir, "long.tar"), filepath.Join(dir, "pod"),
	}
	if err := os.MkdirAll(in.pod, 0o700); err != nil {
		return in, err
	}
	err := errors.Join(
		writeLayer(in.files, 1, manyFiles, 14_000), writeLayer(in.big, 2, 2, 350_000_000), compressLayer(in.files, in.filesGzip),
		writeLayer(in.short, 3, 4, 64<<20), compressLayer(in.short, in.shortGzip), writeLayer(in.long, 4, 4, 512<<20),
	)
	for i := range podImages * podLayers {
		err = errors.Join(err, writeLayer(filepath.Join(in.pod, fmt.Sprintf("%02d.tar", i)), uint64(100+i), 64, 8*200_000))
	}
	return in, err
}

// writeLayer writes a tar of so many files of about so many bytes, which compress as programs do.
func writeLayer(path string, seed uint64, files, mean int) error {
	return writeThrough(path, func(out io.Writer) error {
		w := tar.NewWriter(out)
		random := rand.New(rand.NewPCG(seed, 1))
		text := make([]byte, 1<<20)
		for at := 0; at < len(text); {
			at += copy(text[at:], fmt.Sprintf("%x ", random.Uint64()>>(4*random.IntN(12))))
		}
		for i := range files {
			size := mean
			if files > 100 {
				size = mean/2 + random.IntN(mean)
			}
			h := &tar.Header{Name: fmt.Sprintf("usr/lib/d%03d/e%02d/file-%d", i%211, i%17, i), Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(size)}
			if err := w.WriteHeader(h); err != nil {
				return err
			}
			for left := size; left > 0; {
				from := random.IntN(len(text) / 2)
				n := min(left, len(text)/2)
				if _, err := w.Write(text[from : from+n]); err != nil {
					return err
				}
				left -= n
			}
		}
		return w.Close()
	})
}

func compressLayer(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	return writeThrough(to, func(out io.Writer) error {
		w := gzip.NewWriter(out)
		if _, err := io.Copy(w, in); err != nil {
			return err
		}
		return w.Close()
	})
}

// writeThrough writes a file that is on the disk before anything is measured.
func writeThrough(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(f, 1<<20)
	return errors.Join(write(out), out.Flush(), f.Sync(), f.Close())
}

func sizeBelow(dir string) (sum int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			sum += info.Size()
		}
		return err
	})
	return sum, err
}
