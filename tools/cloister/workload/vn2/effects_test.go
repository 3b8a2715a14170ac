package vn2

import (
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/tools/cloister/workload"
	"github.com/cloister-cc/cloister/tools/cloister/workload/shape/shapetest"
	"github.com/cloister-cc/cloister/tools/cloister/workload/yamltree"
)

// What the documents of this test have in common: a pod that uses each ConfigMap and Secret.
const effects = `
apiVersion: v1
kind: List
metadata: {name: l}
items:
- apiVersion: v1
  kind: Pod
  metadata:
    name: p
    namespace: ns
    labels: {a: b}
    annotations: {microsoft.containerinstance.virtualnode.ccepolicy: cGFja2FnZSBwb2xpY3k=}
  spec:
    hostNetwork: false
    hostPID: false
    hostIPC: false
    shareProcessNamespace: false
    os: {name: linux}
    securityContext: {runAsUser: 3, runAsGroup: 4, seccompProfile: {type: RuntimeDefault}}
    containers:
    - &container
      name: c
      image: i
      command: [a]
      args: [b]
      workingDir: /w
      env:
      - {name: A, value: x}
      - {name: B, valueFrom: {configMapKeyRef: {name: m, key: k}}}
      - {name: C, valueFrom: {secretKeyRef: {name: s, key: k}}}
      - {name: D, valueFrom: {fieldRef: {fieldPath: x}}}
      - {name: E, valueFrom: {resourceFieldRef: {resource: x}}}
      - {name: F, valueFrom: {configMapKeyRef: {name: m, key: none, optional: true}}}
      - {name: G, valueFrom: {secretKeyRef: {name: s, key: none, optional: true}}}
      envFrom:
      - {prefix: P_, configMapRef: {name: m}}
      - {prefix: Q_, secretRef: {name: s}}
      - {configMapRef: {name: absent, optional: true}}
      - {secretRef: {name: absent, optional: true}}
      volumeMounts:
      - {name: v0, mountPath: /0, readOnly: true, mountPropagation: None}
      - {name: v1, mountPath: /1}
      - {name: v2, mountPath: /2}
      - {name: v3, mountPath: /3}
      - {name: v4, mountPath: /4}
      - {name: v5, mountPath: /5}
      - {name: v6, mountPath: /6}
      - {name: v7, mountPath: /7}
      - {name: v8, mountPath: /8}
      livenessProbe: {exec: {command: [l]}}
      readinessProbe: {exec: {command: [r]}}
      startupProbe: {exec: {command: [s]}}
      lifecycle: {postStart: {exec: {command: [o]}}, preStop: {exec: {command: [t]}}}
      terminationMessagePath: /dev/termination-log
      securityContext:
        privileged: true
        allowPrivilegeEscalation: false
        capabilities: {add: [A], drop: [B]}
        procMount: Default
        runAsUser: 1
        runAsGroup: 2
        seccompProfile: {type: Unconfined}
    - {name: inherits, image: i}
    initContainers:
    - *container
    volumes:
    - {name: v0, emptyDir: {}}
    - {name: v1, configMap: {}}
    - {name: v2, downwardAPI: {}}
    - {name: v3, projected: {}}
    - {name: v4, secret: {}}
    - {name: v5, azureFile: {}}
    - {name: v6, csi: {driver: file.csi.azure.com}}
    - {name: v7, persistentVolumeClaim: {}}
    - {name: v8, gitRepo: {}}
`

const (
	configMapText = "- {kind: ConfigMap, metadata: {name: m, namespace: ns}, data: {k: v}}\n"
	secretText    = "- {kind: Secret, metadata: {name: s, namespace: ns}, data: {k: dg==}, stringData: {l: v}}\n"
	usesBoth      = "- {kind: Pod, metadata: {namespace: ns}, spec: {containers: [{name: c, image: i, envFrom: [{secretRef: {name: s}}, {configMapRef: {name: m}}]}]}}\n"
	stateful      = `
- kind: StatefulSet
  metadata: {name: s}
  spec:
    template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i, volumeMounts: [{name: v, mountPath: /v}]}]}}
    volumeClaimTemplates: [{metadata: {name: v}}]
`
	cron = `
- kind: CronJob
  metadata: {name: s}
  spec: {jobTemplate: {metadata: {name: j}, spec: {template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}}}
`
)

func TestFieldsHaveTheirEffects(t *testing.T) {
	// Of these names the values are not read, only the documents around them.
	quiet := map[string]bool{
		"apiVersion": true, "CronJob: spec.jobTemplate.metadata": true, "CronJob: spec.jobTemplate.metadata.name": true, "CronJob: spec.jobTemplate.metadata.namespace": true,
		"CronJob: spec.jobTemplate.metadata.labels.*": true, "CronJob: spec.jobTemplate.metadata.annotations.*": true,
	}
	for prefix, text := range map[string]string{
		"": effects + configMapText + secretText, "Deployment": "kind: List\nitems:" + stateful, "CronJob": "kind: List\nitems:" + cron,
		"ConfigMap": "kind: List\nitems:\n" + configMapText, "Secret": "kind: List\nitems:\n" + secretText, "List": "kind: List\nitems:" + cron,
	} {
		t.Run("kind-"+prefix, func(t *testing.T) {
			f, err := yamltree.Parse([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			at := "items[]."
			if prefix == "List" {
				at = ""
			}
			var fields []workload.Field
			for _, f := range Fields() {
				of, path, ok := strings.Cut(f.Path, ": ")
				if !ok {
					of, path = "", f.Path
				}
				if of == prefix && !quiet[f.Path] {
					f.Path = path
					fields = append(fields, f)
				}
			}
			shapetest.Effects(t, fields, f.Documents[0], at, func(text []byte) ([]workload.Group, error) {
				if prefix == "ConfigMap" || prefix == "Secret" {
					text = append(text, "\n---\nkind: List\nitems:\n"+usesBoth...)
					if prefix == "ConfigMap" {
						text = append(text, secretText...)
					} else {
						text = append(text, configMapText...)
					}
				}
				return Read(t.Context(), workload.Document{Name: "l", Data: text})
			})
		})
	}
}
