package pod

import (
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// clusterPod reads a template for a cluster.
func clusterPod(t *testing.T, spec string, c *Cluster) *Pod {
	t.Helper()
	template := &corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "shop"}}}
	if err := yaml.UnmarshalStrict([]byte(spec), &template.Spec); err != nil {
		t.Fatal(err)
	}
	if c.PodName == (Text{}) {
		c.PodName, c.Hostname = DeploymentPodName("shop"), DeploymentPodName("shop")
	}
	p, err := FromTemplate(template, "spec.template.", c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestFieldsExist: a path that no type has would be a field that is understood by nobody.
func TestFieldsExist(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Fields() {
		if seen[f.Path] {
			t.Errorf("%s is in the table twice", f.Path)
		}
		seen[f.Path] = true
		at := reflect.TypeFor[corev1.Pod]()
		for step := range strings.SplitSeq(f.Path, ".") {
			name := strings.TrimSuffix(step, "[]")
			next, ok := fieldOf(at, name)
			list := strings.HasSuffix(step, "[]")
			if !ok || list && next.Kind() != reflect.Slice {
				t.Errorf("%s: %s has no such field", f.Path, at)
				break
			}
			if list {
				next = next.Elem()
			}
			at = next
		}
		if f.Use == Refused && f.Meaning == "" {
			t.Errorf("%s is refused without a reason", f.Path)
		}
	}
}

// fieldOf finds a field by its name in JSON, in embedded structs too.
func fieldOf(t reflect.Type, name string) (reflect.Type, bool) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil, false
	}
	for i := range t.NumField() {
		tag, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if tag == name {
			return t.Field(i).Type, true
		}
		if tag == "" && t.Field(i).Anonymous {
			if found, ok := fieldOf(t.Field(i).Type, name); ok {
				return found, true
			}
		}
	}
	return nil, false
}

// TestEveryOtherFieldIsRefused sets each field of a container, a volume and a pod that the tables leave out.
func TestEveryOtherFieldIsRefused(t *testing.T) {
	covered := func(path string) bool {
		for _, f := range Fields() {
			if f.Use != Refused && (f.Path == path || strings.HasPrefix(f.Path, path+".") || strings.HasPrefix(f.Path, path+"[]")) {
				return true
			}
		}
		return false
	}
	refused := 0
	for _, part := range []struct {
		at   string
		make func() (*corev1.PodTemplateSpec, reflect.Value)
	}{
		{"spec.", func() (*corev1.PodTemplateSpec, reflect.Value) {
			p := &corev1.PodTemplateSpec{}
			return p, reflect.ValueOf(&p.Spec).Elem()
		}},
		{"spec.containers[].", func() (*corev1.PodTemplateSpec, reflect.Value) {
			p := &corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{}}}}
			return p, reflect.ValueOf(&p.Spec.Containers[0]).Elem()
		}},
		{"spec.volumes[].", func() (*corev1.PodTemplateSpec, reflect.Value) {
			p := &corev1.PodTemplateSpec{Spec: corev1.PodSpec{Volumes: []corev1.Volume{{}}}}
			return p, reflect.ValueOf(&p.Spec.Volumes[0].VolumeSource).Elem()
		}},
		{"spec.securityContext.", func() (*corev1.PodTemplateSpec, reflect.Value) {
			p := &corev1.PodTemplateSpec{Spec: corev1.PodSpec{SecurityContext: &corev1.PodSecurityContext{}}}
			return p, reflect.ValueOf(p.Spec.SecurityContext).Elem()
		}},
	} {
		template, v := part.make()
		for i := range v.NumField() {
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			if covered(part.at + name) {
				continue
			}
			refused++
			old := reflect.New(v.Field(i).Type()).Elem()
			old.Set(v.Field(i))
			v.Field(i).Set(someValue(v.Field(i).Type()))
			shown := strings.ReplaceAll(part.at, "[]", "[0]") + name
			if err := Check(template, "", Fields(), true); err == nil || !strings.Contains(err.Error(), shown) {
				t.Errorf("%s: got %v, want a refusal by its path", shown, err)
			}
			v.Field(i).Set(old)
		}
	}
	if refused < 20 {
		t.Errorf("only %d fields are refused", refused)
	}
}

// someValue is a value of the type that is not its zero.
func someValue(t reflect.Type) reflect.Value {
	v := reflect.New(t).Elem()
	switch t.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(t.Elem()))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(t, 1, 1))
	case reflect.Map:
		v.Set(reflect.MakeMap(t))
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	}
	return v
}

func TestServiceVariables(t *testing.T) {
	yes, no := true, false
	cases := []struct {
		name      string
		links     *bool
		entry     string
		want      bool
		reference string // a variable that the cluster may set
	}{
		{"kubernetes", &no, "KUBERNETES_SERVICE_HOST=10.0.0.1", true, "KUBERNETES_SERVICE_HOST"},
		{"kubernetes-ipv6", &no, "KUBERNETES_SERVICE_HOST=fd00::1", true, ""},
		{"kubernetes-url-ipv6", &no, "KUBERNETES_PORT=tcp://[fd00::1]:443", true, "KUBERNETES_PORT"},
		{"named-port", &no, "KUBERNETES_SERVICE_PORT_HTTPS=443", true, ""},
		{"other-service-without-links", &no, "REDIS_SERVICE_HOST=10.0.0.1", false, ""},
		{"other-service", &yes, "REDIS_MAIN_SERVICE_HOST=10.0.0.1", true, "REDIS_MAIN_SERVICE_HOST"},
		{"links-are-the-default", nil, "REDIS_PORT_6379_TCP_ADDR=10.0.0.1", true, "REDIS_PORT_6379_TCP_ADDR"},
		{"protocol", nil, "REDIS_PORT_6379_TCP_PROTO=tcp", true, ""},
		{"port", nil, "REDIS_PORT_6379_TCP_PORT=6379", true, ""},
		{"host-name", nil, "REDIS_SERVICE_HOST=evil.example", false, ""},
		{"octet", nil, "REDIS_SERVICE_HOST=10.0.0.256", false, ""},
		{"path", nil, "REDIS_PORT=tcp://10.0.0.1:6379/x", false, ""},
		{"scheme", nil, "REDIS_PORT=http://10.0.0.1:6379", false, ""},
		{"lower-case", nil, "redis_SERVICE_HOST=10.0.0.1", false, ""},
		{"newline", nil, "REDIS_SERVICE_HOST=10.0.0.1\n", false, ""},
		{"something-else", nil, "LD_PRELOAD=/x", false, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := false
			for _, r := range serviceRules(c.links) {
				if r.Required || r.Strategy != "re2" {
					t.Errorf("rule %+v: a service variable is never required", r)
				}
				got = got || r.Matches(c.entry)
			}
			if got != c.want {
				t.Errorf("%s: allowed is %v, want %v", c.entry, got, c.want)
			}
			if c.reference != "" && !mayBeService(c.reference, c.links) {
				t.Errorf("%s: a reference would be taken for text", c.reference)
			}
		})
	}
	if mayBeService("REDIS_SERVICE_HOST", &no) || mayBeService("PORT", nil) || mayBeService("HOME", nil) {
		t.Error("an ordinary variable is taken for a service's")
	}
}

// TestPatterns: what each fieldRef gives, by values as clusters make them.
func TestPatterns(t *testing.T) {
	cases := []struct{ name, path, yes, no string }{
		{"name", "metadata.name", "shop-6d5f7c9b8d-x2x4z", "shop"},
		{"namespace", "metadata.namespace", "default", "Default"},
		{"uid", "metadata.uid", "0f8fad5b-d9cb-469f-a165-70867728950e", "0f8fad5b"},
		{"label", "metadata.labels['app']", "shop", "shop2"},
		{"label-of-a-controller", "metadata.labels['pod-template-hash']", "6d5f7c9b8d", "a"},
		{"no-label", "metadata.labels['none']", "", "x"},
		{"no-annotation", "metadata.annotations['none']", "", "x"},
		{"node", "spec.nodeName", "node-1.internal", "node 1"},
		{"account", "spec.serviceAccountName", "default", "other"},
		{"pod-ip", "status.podIP", "10.1.2.3", "10.1.2.3.4"},
		{"pod-ip-6", "status.podIP", "fd00::3", "fd00::g"},
		{"pod-ips", "status.podIPs", "10.1.2.3,fd00::3", "10.1.2.3,"},
		{"host-ip", "status.hostIP", "192.168.0.1", ""},
		{"host-ips", "status.hostIPs", "192.168.0.1", "192.168.0.1,10.0.0.1,10.0.0.2"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := clusterPod(t, "containers: [{name: a, image: app}]", &Cluster{})
			text, err := p.fieldRef(&corev1.ObjectFieldSelector{FieldPath: c.path})
			if err != nil {
				t.Fatal(err)
			}
			rule := EnvRule{Pattern: "A=" + text.regexp(), Strategy: "re2"}
			if !rule.Matches("A="+c.yes) || rule.Matches("A="+c.no) {
				t.Errorf("%s allows %q: %v, %q: %v", rule.Pattern, c.yes, rule.Matches("A="+c.yes), c.no, rule.Matches("A="+c.no))
			}
		})
	}
}

func TestResourceRef(t *testing.T) {
	cases := []struct{ name, resource, divisor, want, err string }{
		{"cpu-rounds-up", "limits.cpu", "0", "2", ""},
		{"cpu-in-milli", "limits.cpu", "1m", "1500", ""},
		{"memory", "limits.memory", "0", "67108864", ""},
		{"memory-in-mebi", "limits.memory", "1Mi", "64", ""},
		{"memory-rounds-up", "limits.memory", "1Gi", "1", ""},
		{"request-from-limit", "requests.memory", "1Mi", "64", ""},
		{"request", "requests.cpu", "1m", "250", ""},
		{"open", "limits.ephemeral-storage", "0", "", ""},
		{"unknown", "limits.pods", "0", "", "is not known"},
		{"no-list", "cpu", "0", "", "is not known"},
		{"negative-divisor", "limits.cpu", "-1", "", "is not a number"},
	}
	p := clusterPod(t, "containers: [{name: a, image: app, resources: {limits: {cpu: 1500m, memory: 64Mi}, requests: {cpu: 250m}}}]", &Cluster{})
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			ref := &corev1.ResourceFieldSelector{Resource: c.resource}
			if err := yaml.Unmarshal([]byte(c.divisor), &ref.Divisor); err != nil {
				t.Fatal(err)
			}
			got, err := p.resourceRef(&p.spec.Containers[0], ref)
			switch {
			case c.err != "":
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("got %v, want %q", err, c.err)
				}
			case err != nil:
				t.Error(err)
			case c.want == "" && got.Pattern != patternNumber, c.want != "" && got != Literal(c.want):
				t.Errorf("got %+v, want %q", got, c.want)
			}
		})
	}
}

// TestClusterEnv: later sources win, references see what is set before them.
func TestClusterEnv(t *testing.T) {
	p := clusterPod(t, `
enableServiceLinks: false
containers:
- name: a
  image: app
  command: [x, $(A), $(B)]
  envFrom:
  - {configMapRef: {name: m}}
  - {prefix: P_, secretRef: {name: s}}
  env:
  - {name: B, value: "$(A)-$(IP)"}
  - {name: B, value: "$(A)+$(P_S)"}
  - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
  - {name: IP, value: fixed}
  - {name: OPEN, value: literal}
  - {name: OPEN, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
`, &Cluster{
		ConfigMaps: map[string]map[string]string{"m": {"A": "a$(B)", "PATH": "/map"}},
		Secrets:    map[string]map[string]string{"s": {"S": "secret"}},
	})
	c, err := resolveOne(t, p, v1.Config{Env: []string{"OPEN=image", "A=image"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"PATH=/map", "A=a$(B)", "P_S=secret", "B=a$(B)+secret", "IP=fixed"}
	if diff := cmp.Diff(c.Env, want); diff != "" {
		t.Errorf("environment (-got +want):\n%s", diff)
	}
	if diff := cmp.Diff(c.Args, []string{"x", "a$(B)", "a$(B)+secret"}); diff != "" {
		t.Errorf("arguments (-got +want):\n%s", diff)
	}
	var names []string
	for _, r := range c.Runtime {
		if r.Required {
			name, _, _ := strings.Cut(r.Pattern, "=")
			names = append(names, name)
		}
	}
	if diff := cmp.Diff(names, []string{"HOSTNAME", "OPEN"}); diff != "" {
		t.Errorf("required rules (-got +want):\n%s", diff)
	}
	if diff := cmp.Diff(p.SecretVariables(), []string{"a: all of s"}); diff != "" {
		t.Errorf("secrets (-got +want):\n%s", diff)
	}
}

func TestAutomount(t *testing.T) {
	cases := []struct {
		name, spec string
		accounts   map[string]bool
		want       bool
	}{
		{"default", "", nil, true},
		{"pod-says-no", "automountServiceAccountToken: false\n", nil, false},
		{"account-says-no", "serviceAccountName: quiet\n", map[string]bool{"quiet": false}, false},
		{"default-account-says-no", "", map[string]bool{"default": false}, false},
		{"pod-overrules", "serviceAccount: quiet\nautomountServiceAccountToken: true\n", map[string]bool{"quiet": false}, true},
		{"mounted-elsewise", "volumes: [{name: v, emptyDir: {}}]\n", nil, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := clusterPod(t, c.spec+"containers: [{name: a, image: app, command: [x]}]", &Cluster{Automount: c.accounts})
			got, err := resolveOne(t, p, v1.Config{})
			if err != nil {
				t.Fatal(err)
			}
			if got.mountedAt(tokenPath) != c.want {
				t.Errorf("mounts are %v, token %v", got.Mounts, c.want)
			}
		})
	}
	p := clusterPod(t, "volumes: [{name: v, emptyDir: {}}]\ncontainers: [{name: a, image: app, command: [x], volumeMounts: [{name: v, mountPath: "+tokenPath+"}]}]", &Cluster{})
	got, err := resolveOne(t, p, v1.Config{})
	if err != nil || got.Mounts[0].Source != "sandbox:///emptydir/v" || len(got.Mounts) != 2 {
		t.Errorf("got %v, %v, want the volume in the token's place", got.Mounts, err)
	}
}

// TestImageWithoutContent: a lock file has no /etc/passwd, so the document has to say all of it.
func TestImageWithoutContent(t *testing.T) {
	img := &Image{Config: v1.Config{User: "web"}, Layers: []Layer{{Root: strings.Repeat("0", 64)}}}
	id := int64(5)
	if _, err := img.identity(t.Context(), &id, &id, false); err == nil || !strings.Contains(err.Error(), "supplementalGroupsPolicy: Strict") {
		t.Errorf("got %v, want what to say", err)
	}
	got, err := img.identity(t.Context(), &id, &id, true)
	if err != nil || got.uid != 5 || got.gid != 5 || got.groups != nil {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := img.identity(t.Context(), nil, &id, true); err == nil {
		t.Error("a user that nobody knows was taken")
	}
	img.Accounts = &AccountFiles{Passwd: []byte(passwdText), Group: []byte(groupText)}
	got, err = img.identity(t.Context(), nil, nil, false)
	if diff := cmp.Diff(got.groups, []uint32{4, 70}); err != nil || diff != "" || got.uid != 33 {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err = img.identity(t.Context(), nil, nil, true); err != nil || got.groups != nil || got.gid != 44 {
		t.Errorf("strict: got %+v, %v", got, err)
	}
}
