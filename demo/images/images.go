package main

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

var platform = v1.Platform{OS: "linux", Architecture: "amd64"}

const nginxConf = `# One worker, logs to the container's output, everything it writes below /tmp and /run.
user www-data;
worker_processes 1;
pid /run/nginx.pid;
error_log stderr notice;
events { worker_connections 64; }
http {
	include mime.types;
	default_type application/octet-stream;
	access_log /dev/stdout;
	server_tokens off;
	server {
		listen 8080;
		root /srv/www;
	}
}
`

const page = `<!doctype html>
<title>Cloister</title>
<h1>Hello from inside a confidential VM</h1>
<p>This page is served by nginx from layers that the pod's policy names by their root hashes.</p>
`

// nginx is Debian's nginx: its libraries below, then the packages, then what a Dockerfile of ours would have changed.
func (b *builder) nginx() (v1.Image, error) {
	base := newLayer()
	skeleton(base, "root:x:0:0:root:/root:/bin/false\nwww-data:x:33:33:www-data:/var/www:/bin/false\n", "root:x:0:\nwww-data:x:33:\n")
	if err := b.files.putLinked(base, "usr/sbin/nginx"); err != nil {
		return nil, err
	}
	if err := b.files.put(base, "usr/lib/os-release", "etc/os-release", "etc/debian_version"); err != nil {
		return nil, err
	}
	// The program was the start of the search for libraries; it belongs to the layer above.
	delete(base.entries, "usr/sbin/nginx")
	b.copyrights(base, "libc6", "libcrypt1", "libpcre2-8-0", "libssl3", "zlib1g", "base-files")

	server := newLayer()
	if err := b.files.put(server, "usr/sbin/nginx", "etc/nginx/", "usr/share/nginx/"); err != nil {
		return nil, err
	}
	server.symlink("etc/nginx/sites-enabled/default", "/etc/nginx/sites-available/default")
	server.dir("var/lib/nginx", 0o755)
	server.dir("var/log/nginx", 0o755)
	server.owner("var/log/nginx", 33, 4)
	b.copyrights(server, "nginx", "nginx-common")

	site := newLayer()
	site.file("etc/nginx/nginx.conf", 0o644, []byte(nginxConf))
	site.file("srv/www/index.html", 0o644, []byte(page))
	site.hardLink("srv/www/welcome.html", "srv/www/index.html")
	site.xattr("srv/www/index.html", "user.cloister.title", "Hello")
	site.whiteout("etc/nginx/sites-enabled/default")
	site.whiteout("etc/nginx/snippets")
	site.opaque("usr/share/nginx/html")
	site.file("usr/share/nginx/html/README", 0o644, []byte("The pages are in /srv/www.\n"))

	return assemble(v1.Config{
		Entrypoint: []string{"/usr/sbin/nginx"}, Cmd: []string{"-g", "daemon off;"}, WorkingDir: "/",
		Env: []string{"PATH=/usr/sbin:/usr/bin"}, StopSignal: "SIGQUIT", ExposedPorts: map[string]struct{}{"8080/tcp": {}},
	}, base, server, site)
}

// applets are the names busybox gets; it can do more.
var applets = []string{
	"[", "awk", "cat", "chmod", "cp", "cut", "date", "dd", "df", "dmesg", "echo", "env", "expr", "false", "find", "free", "grep",
	"head", "hexdump", "hostname", "id", "ip", "kill", "ln", "ls", "mkdir", "mount", "mv", "nc", "netstat", "printf", "ps", "pwd",
	"readlink", "rm", "rmdir", "sed", "seq", "sh", "sha256sum", "sleep", "sort", "stat", "tail", "telnet", "test", "touch", "tr",
	"true", "umount", "uname", "vi", "wc", "wget", "whoami", "xargs", "xxd", "yes",
}

const capNetRaw = 13

// client is busybox and our report program, run by a user of its own.
func (b *builder) client() (v1.Image, error) {
	base := newLayer()
	skeleton(base, "root:x:0:0:root:/root:/bin/sh\ndemo:x:1000:1000:demo:/home/demo:/bin/sh\n",
		"root:x:0:\nusers:x:100:demo\ndemo:x:1000:\n")
	busybox, ok := b.files["usr/bin/busybox"]
	if !ok {
		return nil, fmt.Errorf("no package has busybox")
	}
	base.fromPackage("usr/bin/busybox", busybox)
	for _, name := range applets {
		base.hardLink("usr/bin/"+name, "usr/bin/busybox")
	}
	base.file("etc/skel/profile", 0o644, []byte("echo an old profile\n"))
	base.file("etc/skel/old", 0o644, nil)
	b.copyrights(base, "busybox-static")

	programs := newLayer()
	programs.file("usr/bin/report", 0o755, b.report)
	// A file of its own: a capability belongs to the inode, so a hard link would give it to every applet.
	programs.file("usr/bin/ping", 0o755, busybox.data)
	programs.xattr("usr/bin/ping", "security.capability", fileCapability(capNetRaw))
	programs.xattr("usr/bin/report", "user.cloister.purpose", "fetch evidence")

	trimmed := newLayer()
	trimmed.whiteout("usr/bin/telnet")
	trimmed.whiteout("usr/bin/vi")
	trimmed.opaque("etc/skel")
	trimmed.file("etc/skel/profile", 0o644, []byte("PS1='demo> '\n"))
	trimmed.dir("home/demo", 0o700)
	trimmed.owner("home/demo", 1000, 1000)
	trimmed.file("home/demo/note", 0o600, []byte("Only this user may read me.\n"))
	trimmed.owner("home/demo/note", 1000, 1000)

	return assemble(v1.Config{
		User: "demo", Cmd: []string{"/bin/sh"}, WorkingDir: "/home/demo", Env: []string{"PATH=/usr/bin", "HOME=/home/demo"},
	}, base, programs, trimmed)
}

// skeleton is what every root file system has.
func skeleton(l *layer, passwd, group string) {
	for _, dir := range []string{"dev", "etc", "home", "proc", "run", "sys", "usr/bin", "usr/lib", "usr/lib64", "usr/sbin", "var/log"} {
		l.dir(dir, 0o755)
	}
	l.dir("root", 0o700)
	l.dir("tmp", 0o1777)
	l.dir("var/tmp", 0o1777)
	for _, name := range []string{"bin", "lib", "lib64", "sbin"} {
		l.symlink(name, "usr/"+name)
	}
	l.file("etc/passwd", 0o644, []byte(passwd))
	l.file("etc/group", 0o644, []byte(group))
}

// copyrights keeps the notices of the packages that a layer holds files of.
func (b *builder) copyrights(l *layer, packages ...string) {
	for at, file := range b.files {
		if strings.HasPrefix(at, "usr/share/doc/") && strings.HasSuffix(at, "/copyright") && slices.Contains(packages, file.pkg) {
			l.fromPackage(at, file)
		}
	}
}

// fileCapability is the kernel's vfs_cap_data, version 2, with one permitted capability that is effective at once.
func fileCapability(bit uint) string {
	var b [20]byte
	binary.LittleEndian.PutUint32(b[0:], 0x02000000|1)
	binary.LittleEndian.PutUint32(b[4:], 1<<bit)
	return string(b[:])
}

// assemble puts layers and configuration together. The topmost layer is compressed with zstd, the others with gzip, because
// registries hold both.
func assemble(config v1.Config, layers ...*layer) (v1.Image, error) {
	img := mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1)
	img, err := mutate.ConfigFile(img, &v1.ConfigFile{OS: platform.OS, Architecture: platform.Architecture, Config: config})
	if err != nil {
		return nil, err
	}
	for i, l := range layers {
		var options []tarball.LayerOption
		if i == len(layers)-1 {
			options = append(options, tarball.WithCompression(compression.ZStd), tarball.WithMediaType(types.OCILayerZStd))
		}
		stored, err := l.image(options...)
		if err != nil {
			return nil, err
		}
		if img, err = mutate.AppendLayers(img, stored); err != nil {
			return nil, err
		}
	}
	return img, nil
}
