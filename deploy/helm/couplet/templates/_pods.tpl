{{/* What every pod takes from the values of its workload (deploy/generate/chart_pods.py, class Pod). */}}

{{/* Of (dict "root" $ "image" IMAGE). */}}
{{- define "couplet.image" -}}
{{- if .image.digest -}}
{{- printf "%s@%s" .image.repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" .image.repository (default .root.Chart.AppVersion .image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "couplet.imagePullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Where a pod may run, and what it may claim there. Of a mapping with the fields of Pod. */}}
{{- define "couplet.placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .topologySpreadConstraints }}
topologySpreadConstraints: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .resourceClaims }}
resourceClaims: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .dnsConfig }}
dnsConfig: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .hostNetwork }}
hostNetwork: true
dnsPolicy: ClusterFirstWithHostNet
{{- end }}
{{- if .hostIPC }}
hostIPC: true
{{- end }}
{{- end -}}

{{/* Security context of a pod. Of (dict "root" $ "ids" IDS "pod" POD), where IDS are the user and groups of its image, and
     `security` may hold more of the chart's own. */}}
{{- define "couplet.podSecurity" -}}
{{- $made := dict "runAsNonRoot" true "seccompProfile" (dict "type" "RuntimeDefault") -}}
{{- if .root.Values.fixedIds -}}{{- $made = merge $made .ids -}}{{- end -}}
{{- $made = mergeOverwrite $made (default dict .security) (deepCopy (default dict .pod.podSecurityContext)) -}}
{{- if and $made.runAsNonRoot (hasKey $made "runAsUser") (eq (int $made.runAsUser) 0) -}}
{{- fail "podSecurityContext: runAsUser 0 is root, which runAsNonRoot forbids; give another user, or set runAsNonRoot: false as well" -}}
{{- end -}}
{{- toYaml $made -}}
{{- end -}}

{{/* Security context of a container. Of (dict "pod" POD "security" MAPPING), where the mapping has more of the chart's own. */}}
{{- define "couplet.containerSecurity" -}}
{{- $made := dict "allowPrivilegeEscalation" false "capabilities" (dict "drop" (list "ALL")) -}}
{{- toYaml (mergeOverwrite $made (default dict .security) (deepCopy (default dict .pod.securityContext))) -}}
{{- end -}}

{{/* Claims that a container uses: all of its pod's. */}}
{{- define "couplet.claims" -}}
{{- range .resourceClaims }}
- name: {{ .name }}
{{- end }}
{{- end -}}

{{/* Whether lists of a pod and of the chart's have anything: their concatenation as YAML, or nothing. */}}
{{- define "couplet.list" -}}
{{- $all := list -}}
{{- range . -}}{{- $all = concat $all (default list .) -}}{{- end -}}
{{- with $all -}}{{- toYaml . -}}{{- end -}}
{{- end -}}

{{/* Bytes of a part of a quantity of memory. Of (list QUANTITY PERCENT). */}}
{{- define "couplet.bytes" -}}
{{- $text := index . 0 | toString -}}
{{- $unit := regexFind "[A-Za-z]*$" $text -}}
{{- $factors := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "P" 1000000000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 -}}
{{- if not (hasKey $factors $unit) -}}{{- fail (printf "%s: an amount of memory has one of the units Ki, Mi, Gi, Ti, k, M, G, T" $text) -}}{{- end -}}
{{- divf (mulf (trimSuffix $unit $text | float64) (get $factors $unit) (index . 1)) 100 | floor | int64 -}}
{{- end -}}

{{/* Thousandths of a CPU of a quantity. */}}
{{- define "couplet.milliCpus" -}}
{{- $text := toString . -}}
{{- ternary (trimSuffix "m" $text | float64) (mulf (float64 $text) 1000) (hasSuffix "m" $text) | ceil | int64 -}}
{{- end -}}

{{/* A pod that is left alone by what tidies up nodes. */}}
{{- define "couplet.undisturbed" -}}
karpenter.sh/do-not-disrupt: "true"
cluster-autoscaler.kubernetes.io/safe-to-evict: "false"
{{- end -}}

{{/* Of (dict "root" $ "component" NAME "pods" N): no drain takes such a pod; somebody ends the run first. By `minAvailable`, as of the
pods of a resource that Kubernetes does not know it cannot tell how many there should be. */}}
{{- define "couplet.disruptionBudget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "couplet.fullname" .root }}-{{ .component }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{- include "couplet.labels" . | nindent 4 }}
spec:
  minAvailable: {{ .pods }}
  selector:
    matchLabels: {{- include "couplet.selector" . | nindent 6 }}
{{- end -}}

{{/* A pod, unless it has something twice, or not at all: the API's own message would name no value, or come from a controller.
Of (dict "where" WHERE "pod" YAML "volumes" NAMES "containers" NAMES), where NAMES are those that others add to the pod. */}}
{{- define "couplet.checked" -}}
{{- $where := .where -}}{{- $spec := (fromYaml .pod).spec -}}
{{- $volumes := default list $spec.volumes -}}{{- range .volumes -}}{{- $volumes = append $volumes (dict "name" .) -}}{{- end -}}
{{- $started := concat (default list $spec.initContainers) $spec.containers -}}{{- $containers := $started -}}
{{- range .containers -}}{{- $containers = append $containers (dict "name" .) -}}{{- end -}}
{{- include "couplet.once" (list $where "two volumes are named %s" "name" $volumes) -}}
{{- include "couplet.once" (list $where "two containers are named %s" "name" $containers) -}}
{{- include "couplet.once" (list $where "two resourceClaims are named %s" "name" $spec.resourceClaims) -}}
{{- range $spec.resourceClaims -}}
{{- if not (or .resourceClaimName .resourceClaimTemplateName) -}}{{- fail (printf "%s: the resource claim %s names no resourceClaimName and no resourceClaimTemplateName; give one" $where .name) -}}{{- end -}}
{{- end -}}
{{- $known := list -}}{{- range $volumes -}}{{- $known = append $known .name -}}{{- end -}}
{{- range $started -}}
{{- $mounts := list -}}
{{- range .volumeMounts -}}
{{- if not (has .name $known) -}}{{- fail (printf "%s: no volume is named %s, which is mounted at %s; add it to extraVolumes" $where .name .mountPath) -}}{{- end -}}
{{- $mounts = append $mounts (dict "mountPath" (trimSuffix "/" .mountPath)) -}}
{{- end -}}
{{- range .env -}}
{{- if and (hasKey . "value") (hasKey . "valueFrom") -}}{{- fail (printf "%s: %s has a value and valueFrom; give one" $where .name) -}}{{- end -}}
{{- end -}}
{{- include "couplet.once" (list $where "%s is set twice; the chart may set it itself" "name" .env) -}}
{{- include "couplet.once" (list $where "two volumes are mounted at %s" "mountPath" $mounts) -}}
{{- end -}}
{{- $numbers := list -}}{{- $names := list -}}
{{- range $spec.containers -}}{{- range .ports -}}
{{- $numbers = append $numbers (dict "port" (printf "%v/%s" .containerPort (default "TCP" .protocol))) -}}
{{- if .name -}}{{- $names = append $names (dict "name" .name) -}}{{- end -}}
{{- end -}}{{- end -}}
{{- include "couplet.once" (list $where "two containers have the port %s" "port" $numbers) -}}
{{- include "couplet.once" (list $where "two ports are named %s" "name" $names) -}}
{{- .pod -}}
{{- end -}}

{{/* Refuse what a list has twice. Of (list WHERE MESSAGE FIELD LIST). */}}
{{- define "couplet.once" -}}
{{- $seen := dict -}}{{- $field := index . 2 -}}
{{- range default list (index . 3) -}}
{{- $value := get . $field | toString -}}
{{- if hasKey $seen $value -}}{{- fail (printf "%s: %s" (index $ 0) (printf (index $ 1) $value)) -}}{{- end -}}
{{- $_ := set $seen $value true -}}
{{- end -}}
{{- end -}}
