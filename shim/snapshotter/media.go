package snapshotter

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
)

// form is how a blob carries a layer.
type form struct {
	native     bool // an EROFS image, not a tar
	compressed bool // of a native one; a tar says so itself
}

const (
	// nativeLayer begins the media types of layers that are EROFS images, as containerd 2.4 takes them; "+zstd" may follow.
	nativeLayer = "application/vnd.erofs.layer"
	encrypted   = "+encrypted"
)

// formOf refuses what is no layer, or none that can be read. No other differ is to try: the snapshot is ours.
func formOf(ctx context.Context, mediaType string) (form, error) {
	refuse := func(reason string) (form, error) {
		return form{}, fmt.Errorf("layer of media type %.100q: %s: %w", mediaType, reason, errdefs.ErrInvalidArgument)
	}
	if strings.HasSuffix(mediaType, encrypted) || strings.Contains(mediaType, encrypted+"+") {
		return refuse("encrypted layers are for a differ that has keys; Cloister's layers are decrypted by nobody on the host")
	}
	if strings.HasPrefix(mediaType, nativeLayer) {
		switch _, suffix, _ := strings.Cut(mediaType, "+"); suffix {
		case "":
			return form{native: true}, nil
		case "zstd":
			return form{native: true, compressed: true}, nil
		default:
			return refuse("an EROFS layer is plain or +zstd")
		}
	}
	if _, err := images.DiffCompression(ctx, mediaType); err != nil {
		return refuse("want a tar, plain or compressed with gzip or zstd, or an EROFS image")
	}
	return form{}, nil
}
