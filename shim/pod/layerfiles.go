package pod

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// maxAccountFile is the most of a passwd or group file that is looked at; the agent's limit is the same.
const maxAccountFile = 1 << 20

const (
	whiteoutPrefix = ".wh."
	opaqueMarker   = ".wh..wh..opq"
)

// fileState says what a layer does to one path.
type fileState int

const (
	untouched fileState = iota // look in the layer below
	absent                     // removed: whiteout, opaque directory, or a parent that is no directory
	regular
	linked  // hard link to another name of the same layer
	special // symbolic link or device
)

type layerFile struct {
	state fileState
	data  []byte
	link  string
}

// readFiles finds files in the union of the layers, base first in the list. A path that is not there is not in the result.
func readFiles(ctx context.Context, layers []Layer, paths []string) (map[string][]byte, error) {
	found, missing := map[string][]byte{}, slices.Clone(paths)
	for _, layer := range slices.Backward(layers) {
		if len(missing) == 0 {
			break
		}
		files, err := scanLayer(ctx, layer, missing)
		if err != nil {
			return nil, fmt.Errorf("layer %s: %w", layer.DiffID, err)
		}
		var below []string
		for _, p := range missing {
			file := files[p]
			if file.state == linked {
				// The content stands at another name of the same layer.
				again, err := scanLayer(ctx, layer, []string{file.link})
				if err != nil {
					return nil, fmt.Errorf("layer %s: %w", layer.DiffID, err)
				}
				if file = again[file.link]; file.state != regular {
					file.state = special
				}
			}
			switch file.state {
			case untouched:
				below = append(below, p)
			case regular:
				found[p] = file.data
			case special:
				// The agent opens regular files only, so a user cannot be resolved there either.
				return nil, fmt.Errorf("layer %s: %q is not a regular file", layer.DiffID, p)
			}
		}
		missing = below
	}
	return found, nil
}

// scanLayer reads the whole layer, because its digest is known only at its end: bytes that are not the image's must not
// decide who a container runs as.
func scanLayer(ctx context.Context, layer Layer, paths []string) (map[string]layerFile, error) {
	stream, err := layer.Open()
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	digest := sha256.New()
	tee := io.TeeReader(stream, digest)
	found := map[string]layerFile{}
	entries := tar.NewReader(tee)
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		for _, p := range paths {
			if err := note(found, p, header, entries); err != nil {
				return nil, err
			}
		}
	}
	if _, err := io.Copy(io.Discard, tee); err != nil {
		return nil, err
	}
	if got := "sha256:" + hex.EncodeToString(digest.Sum(nil)); got != layer.DiffID {
		return nil, fmt.Errorf("content is %s", got)
	}
	return found, nil
}

// note records what one entry does to the path p. The last entry of a name wins; an opaque marker hides only what lies in
// the layers below, so it never overrides an entry of its own layer.
func note(found map[string]layerFile, p string, header *tar.Header, content io.Reader) error {
	name := strings.TrimPrefix(path.Clean("/"+header.Name), "/")
	dir, base := path.Split(name)
	switch {
	case name == p:
		file, err := fileOf(header, content)
		if err != nil {
			return fmt.Errorf("%q: %w", p, err)
		}
		found[p] = file
	case base == opaqueMarker:
		if strings.HasPrefix(p, dir) && found[p].state == untouched {
			found[p] = layerFile{state: absent}
		}
	case strings.HasPrefix(base, whiteoutPrefix):
		removed := dir + strings.TrimPrefix(base, whiteoutPrefix)
		if (removed == p || strings.HasPrefix(p, removed+"/")) && found[p].state == untouched {
			found[p] = layerFile{state: absent}
		}
	case strings.HasPrefix(p, name+"/") && header.Typeflag != tar.TypeDir && name != "":
		found[p] = layerFile{state: special}
	}
	return nil
}

func fileOf(header *tar.Header, content io.Reader) (layerFile, error) {
	switch header.Typeflag {
	case tar.TypeReg:
		if header.Size > maxAccountFile {
			return layerFile{}, fmt.Errorf("is larger than %d bytes", maxAccountFile)
		}
		data, err := io.ReadAll(content)
		return layerFile{state: regular, data: data}, err
	case tar.TypeLink:
		return layerFile{state: linked, link: strings.TrimPrefix(path.Clean("/"+header.Linkname), "/")}, nil
	}
	return layerFile{state: special}, nil
}
