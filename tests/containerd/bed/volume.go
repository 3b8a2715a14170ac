package bed

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// tokenVolume is the projected volume that the API server adds.
const tokenVolume = "kube-api-access-b7x2k"

// writeVolumes makes what kubelet makes on the host before the pod starts.
func (p *Pod) writeVolumes() error {
	hosts := "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
	for _, a := range p.Spec.Spec.HostAliases {
		for _, name := range a.Hostnames {
			hosts += a.IP + "\t" + name + "\n"
		}
	}
	if err := os.WriteFile(filepath.Join(p.dir, "etc-hosts"), []byte(hosts), 0o644); err != nil {
		return err
	}
	for _, v := range p.Spec.Spec.Volumes {
		if v.HostPath != nil {
			p.volumes[v.Name] = v.HostPath.Path
			continue
		}
		if err := p.makeVolume(v.Name); err != nil {
			return err
		}
		if v.EmptyDir == nil {
			// Kubelet fetches the contents from the API server; here the case gives them by Update.
			if err := p.Update(v.Name, map[string]string{}); err != nil {
				return err
			}
		}
	}
	if err := p.makeVolume(tokenVolume); err != nil {
		return err
	}
	return p.Update(tokenVolume, map[string]string{"token": "eyJ.first.token", "ca.crt": "-----BEGIN CERTIFICATE-----\n", "namespace": p.Spec.Namespace})
}

// makeVolume makes the directory with the path that kubelet gives it: runtimes tell kinds of volumes by it.
func (p *Pod) makeVolume(name string) error {
	kind := "kubernetes.io~projected"
	for _, v := range p.Spec.Spec.Volumes {
		if v.Name == name {
			kind = volumeKind(v.VolumeSource)
		}
	}
	// Kubelet has /var/lib/kubelet/pods/UID/volumes/KIND/NAME.
	p.volumes[name] = filepath.Join(p.dir, "volumes", kind, name)
	return os.MkdirAll(p.volumes[name], 0o777)
}

func volumeKind(v corev1.VolumeSource) string {
	switch {
	case v.EmptyDir != nil:
		return "kubernetes.io~empty-dir"
	case v.ConfigMap != nil:
		return "kubernetes.io~configmap"
	case v.Secret != nil:
		return "kubernetes.io~secret"
	case v.DownwardAPI != nil:
		return "kubernetes.io~downward-api"
	}
	return "kubernetes.io~projected"
}

func (p *Pod) readonly(volume string) bool {
	for _, v := range p.Spec.Spec.Volumes {
		if v.Name == volume {
			return v.ConfigMap != nil || v.Secret != nil || v.DownwardAPI != nil || v.Projected != nil
		}
	}
	return false
}

// Update writes the files of a ConfigMap, Secret or projected volume the way kubelet does: into a new directory with a time in its name, then one rename of the link
// "..data", then the links of the files.
func (p *Pod) Update(volume string, files map[string]string) error {
	dir, ok := p.volumes[volume]
	if !ok {
		return fmt.Errorf("pod %q has no volume %q", p.Spec.Name, volume)
	}
	stamp := time.Now().UTC().Format("..2006_01_02_15_04_05.000000000")
	if err := os.Mkdir(filepath.Join(dir, stamp), 0o755); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, stamp, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	old, _ := os.Readlink(filepath.Join(dir, "..data")) // none the first time
	if err := os.Symlink(stamp, filepath.Join(dir, "..data_tmp")); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
		return err
	}
	for name := range files {
		link := filepath.Join(dir, name)
		if _, err := os.Lstat(link); err == nil {
			continue
		}
		if err := os.Symlink(filepath.Join("..data", name), link); err != nil {
			return err
		}
	}
	if old == "" {
		return nil
	}
	return os.RemoveAll(filepath.Join(dir, old))
}

// VolumeDir is where a volume is on the host.
func (p *Pod) VolumeDir(name string) string { return p.volumes[name] }
