package images_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/cloister-cc/cloister/tools/cloister/images"
)

// A lock file is enough: nothing is looked up.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	lock := filepath.Join(dir, "cloister.lock.json")
	err = os.WriteFile(lock, []byte(`{
  "nginx": {
    "config": {"Entrypoint": ["/docker-entrypoint.sh"], "User": "nginx"},
    "layers": ["8b4842f06982817534a75bcf71865213b09dfa8313229c384e5201dadbd75e25"]
  }
}`), 0o600)
	if err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	src, err := images.Open(ctx, images.Options{Lock: lock, Locked: true})
	if err != nil {
		log.Fatal(err)
	}
	defer src.Close()
	img, err := src.Image(ctx, "docker.io/library/nginx:latest")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(img.Platform, img.Config.Entrypoint, img.Config.User)
	fmt.Println(img.Layers[0].Ext4)
	// Output:
	// linux/amd64 [/docker-entrypoint.sh] nginx
	// 8b4842f06982817534a75bcf71865213b09dfa8313229c384e5201dadbd75e25
}
