{{/* The Ray cluster, the same in a RayJob and a RayCluster. */}}

{{/* Environment of every Ray container. Of (dict "root" $ "component" NAME "pool" POOL). */}}
{{- define "couplet.rayEnv" -}}
{{- $values := .root.Values -}}{{- $head := eq .component "head" -}}
{{ include "couplet.redisEnv" .root }}
- {name: HF_HOME, value: {{ printf "%s/huggingface" $values.storage.mountPath | quote }}}
- {name: PYTHONUNBUFFERED, value: "1"}
{{- with include "couplet.codeEnv" .root }}
{{ . }}
{{- end }}
{{- with $values.secrets.huggingface }}{{- if .name }}
- name: HF_TOKEN
  valueFrom:
    secretKeyRef: {name: {{ .name }}, key: {{ .key }}}
{{- end }}{{- end }}
{{- with $values.secrets.wandb }}{{- if .name }}
- name: WANDB_API_KEY
  valueFrom:
    secretKeyRef: {name: {{ .name }}, key: {{ .key }}}
{{- end }}{{- end }}
{{- if $head }}
- {name: RAY_JOB_STOP_WAIT_TIME_S, value: {{ $values.ray.stopSeconds | quote }}}
{{- with $values.monitoring.prometheusUrl }}
- {name: RAY_PROMETHEUS_HOST, value: {{ . | quote }}}
{{- end }}
{{- with $values.monitoring.grafanaUrl }}
- {name: RAY_GRAFANA_HOST, value: {{ . | quote }}}
{{- end }}
{{- with $values.monitoring.grafanaBrowserUrl }}
- {name: RAY_GRAFANA_IFRAME_HOST, value: {{ . | quote }}}
{{- end }}
{{- end }}
{{- if eq .component "learner" }}
- {name: COUPLET_LEAVING, value: /tmp/couplet-leaving}
{{- end }}
{{- with include "couplet.list" (list $values.ray.env .pool.env) }}
{{ . }}
{{- end }}
{{- end -}}

{{/* Requests and limits of a Ray container. Of (dict "root" $ "pool" POOL). */}}
{{- define "couplet.rayResources" -}}
{{- $own := dict "cpu" (toString .pool.cpu) "memory" (toString .pool.memory) -}}
{{- if and .pool.gpusPerPod .root.Values.ray.gpuResource -}}
{{- $_ := set $own .root.Values.ray.gpuResource (toString .pool.gpusPerPod) -}}
{{- end -}}
{{- include "couplet.added" (list (printf "ray.%s.extraResources" .component) $own .pool.extraResources) -}}
{{- end -}}

{{/* The hook that a pod runs before Ray is ended. Of (dict "root" $ "script" FILE). */}}
{{- define "couplet.preStop" -}}
preStop:
  exec:
    command:
      - python3
      - -c
      - {{ .root.Files.Get .script | toJson }}
      - {{ .root.Values.ray.stopSeconds | quote }}
{{- end -}}

{{/* Pod template. Of (dict "root" $ "component" NAME "pool" POOL). */}}
{{- define "couplet.rayPod" -}}
{{- $ := .root -}}{{- $ray := .root.Values.ray -}}{{- $pool := .pool -}}
{{- $head := eq .component "head" -}}{{- $kept := has .component (list "head" "learner") -}}
metadata:
  labels:
    {{- include "couplet.podLabels" (dict "root" $ "component" .component "labels" $pool.labels) | nindent 4 }}
  {{- $own := dict }}
  {{- if not (kindIs "string" $.Values.recipe) }}{{- $_ := set $own "couplet/recipe" (toYaml $.Values.recipe | sha256sum | trunc 16) }}{{- end }}
  {{- $weak := ternary (include "couplet.undisturbed" . | fromYaml) dict $kept }}
  {{- with include "couplet.added" (list "annotations" $own $weak $pool.annotations) | fromYaml }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with $pool.serviceAccountName | default (ternary (include "couplet.serviceAccountName" $) "" $head) }}
  serviceAccountName: {{ . }}
  {{- end }}
  automountServiceAccountToken: {{ and $head $ray.autoscaling.enabled }}
  # A run that is stopped writes a checkpoint first, for which its head and its learner stay; Ray then ends its processes.
  terminationGracePeriodSeconds: {{ ternary (add $ray.stopSeconds 60) 60 $kept }}
  {{- include "couplet.imagePullSecrets" $ | nindent 2 }}
  {{- with $ray.schedulerName }}
  schedulerName: {{ . }}
  {{- end }}
  {{- include "couplet.placement" $pool | nindent 2 }}
  securityContext:
    {{- $ids := dict "runAsUser" 10001 "runAsGroup" 10001 "fsGroup" 10001 "fsGroupChangePolicy" "OnRootMismatch" }}
    {{- include "couplet.podSecurity" (dict "root" $ "ids" $ids "pod" $pool) | nindent 4 }}
  {{- $env := include "couplet.list" (list $ray.env $pool.env) }}{{- $envFrom := include "couplet.list" (list $ray.envFrom $pool.envFrom) }}
  {{- $mounts := include "couplet.list" (list $ray.extraVolumeMounts $pool.extraVolumeMounts) }}
  {{- $more := include "couplet.list" (list $ray.initContainers $pool.initContainers) }}
  {{- $security := include "couplet.containerSecurity" (dict "pod" $pool) }}
  {{- with include "couplet.initContainers" (dict "root" $ "image" $ray.image "security" $security "env" $env "envFrom" $envFrom "mounts" $mounts "more" $more) | trim }}
  initContainers: {{- . | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ ternary "ray-head" "ray-worker" $head }}
      image: {{ include "couplet.image" (dict "root" $ "image" $ray.image) | quote }}
      imagePullPolicy: {{ $ray.image.pullPolicy }}
      ports:
        - {name: metrics, containerPort: 8080, protocol: TCP}
        {{- if $head }}
        - {name: gcs-server, containerPort: 6379, protocol: TCP}
        - {name: dashboard, containerPort: 8265, protocol: TCP}
        - {name: as-metrics, containerPort: 44217, protocol: TCP}
        - {name: dash-metrics, containerPort: 44227, protocol: TCP}
        - {name: driver, containerPort: 9400, protocol: TCP}
        {{- end }}
      env: {{- include "couplet.rayEnv" . | nindent 8 }}
      {{- with $envFrom }}
      envFrom: {{- . | nindent 8 }}
      {{- end }}
      resources:
        requests: {{- include "couplet.rayResources" . | nindent 10 }}
        limits: {{- include "couplet.rayResources" . | nindent 10 }}
        {{- with include "couplet.claims" $pool }}
        claims: {{- . | nindent 10 }}
        {{- end }}
      securityContext: {{- $security | nindent 8 }}
      {{- if $kept }}
      lifecycle:
        {{- $script := ternary "files/stop_run.py" "files/wait_for_learner.py" $head }}
        {{- include "couplet.preStop" (dict "root" $ "script" $script) | nindent 8 }}
      {{- end }}
      volumeMounts:
        - {name: shm, mountPath: /dev/shm}
        - {name: ray-logs, mountPath: /tmp/ray}
        - {name: runs, mountPath: {{ $.Values.storage.mountPath | quote }}}
        {{- with include "couplet.redisMount" $ }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with include "couplet.codeMount" $ | trim }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with include "couplet.recipeMount" $ }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with $mounts }}
        {{- . | nindent 8 }}
        {{- end }}
    {{- with include "couplet.list" (list $ray.sidecarContainers $pool.sidecarContainers) }}
    {{- . | nindent 4 }}
    {{- end }}
  volumes:
    - name: shm
      emptyDir: {medium: Memory, sizeLimit: {{ $pool.sharedMemory | quote }}}
    - name: ray-logs
      emptyDir: {}
    - name: runs
      persistentVolumeClaim: {claimName: {{ include "couplet.claimName" $ }}}
    {{- with include "couplet.redisVolume" $ }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with include "couplet.codeVolume" $ | trim }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with include "couplet.recipeVolume" $ }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with include "couplet.list" (list $ray.extraVolumes $pool.extraVolumes) }}
    {{- . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* Ray's object store is four fifths of /dev/shm; by default it is 30 % of the memory, and on disk if that is more than /dev/shm has.
Of (dict "where" WHERE "pool" POOL). */}}
{{- define "couplet.startParams" -}}
{{- $store := include "couplet.bytes" (list .pool.sharedMemory 80) -}}
{{- if ge (include "couplet.bytes" (list .pool.sharedMemory 100) | int64) (include "couplet.bytes" (list .pool.memory 100) | int64) -}}
{{- fail (printf "%s.sharedMemory: %v of memory cannot hold %v of it; lower it, or raise %s.memory" .where .pool.memory .pool.sharedMemory .where) -}}
{{- end -}}
{{- if lt (int64 $store) 78643200 -}}
{{- fail (printf "%s.sharedMemory: four fifths of %v are too small for Ray's object store; set it to 94Mi or more" .where .pool.sharedMemory) -}}
{{- end -}}
object-store-memory: {{ $store | quote }}
{{- range $name, $value := .pool.rayStartParams }}
{{- if has $name (list "object-store-memory" "memory" "num-cpus" "num-gpus" "resources" "dashboard-host" "metrics-export-port" "temp-dir") }}
{{- fail (printf "rayStartParams: %s is set by the chart or by KubeRay; change cpu, gpusPerPod, sharedMemory or rayResources" $name) }}
{{- end }}
{{ $name }}: {{ $value | quote }}
{{- end }}
{{- end -}}

{{/* Worker group. Of (dict "root" $ "name" NAME "pool" POOL "min" N "max" N "resources" MAPPING). */}}
{{- define "couplet.workerGroup" -}}
{{- if gt (int .min) (int .max) -}}
{{- fail (printf "ray: worker group %s has minReplicas %d above maxReplicas %d; lower one or raise the other" .name (int .min) (int .max)) -}}
{{- end -}}
- groupName: {{ .name }}
  {{- if or (eq (int .min) (int .max)) (not .root.Values.ray.autoscaling.enabled) }}
  # Left out where the autoscaler decides it: an upgrade would set it back.
  replicas: {{ .min }}
  {{- end }}
  minReplicas: {{ .min }}
  maxReplicas: {{ .max }}
  {{- $where := printf "ray.%s" .name }}
  rayStartParams: {{- include "couplet.startParams" (dict "where" $where "pool" .pool) | nindent 4 }}
  {{- if and .pool.gpusPerPod (not .root.Values.ray.gpuResource) (not .pool.resourceClaims) }}
  {{- fail (printf "%s.gpusPerPod: nothing brings these GPUs; set ray.gpuResource, or %s.resourceClaims" $where $where) }}
  {{- end }}
  {{- $gpus := ternary (dict "GPU" (toString .pool.gpusPerPod)) dict (gt (int .pool.gpusPerPod) 0) }}
  {{- with merge $gpus (default dict .resources) }}
  # Custom resources pin actors to this group; CPUs follow from the container's limits, and so would GPUs under some names alone.
  resources: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- $pod := include "couplet.rayPod" (dict "root" .root "component" .name "pool" .pool) }}
  template: {{- include "couplet.checked" (dict "where" $where "pod" $pod "containers" (list "wait-gcs-ready")) | nindent 4 }}
{{- end -}}

{{- define "couplet.rayCluster" -}}
{{- $ray := .Values.ray -}}{{- $learner := $ray.learner -}}{{- $rollout := $ray.rollout -}}
rayVersion: {{ $ray.version | quote }}
authOptions:
  mode: {{ $ray.auth.mode }}
  {{- with $ray.auth.secretName }}
  secretName: {{ . }}
  {{- end }}
enableInTreeAutoscaling: {{ $ray.autoscaling.enabled }}
{{- if $ray.autoscaling.enabled }}
autoscalerOptions:
  idleTimeoutSeconds: {{ $ray.autoscaling.idleTimeoutSeconds }}
  upscalingMode: {{ $ray.autoscaling.upscalingMode }}
  resources:
    requests: {cpu: {{ printf "%dm" (max 1 (div (include "couplet.milliCpus" $ray.autoscaling.cpu) 4)) }}, memory: {{ $ray.autoscaling.memory | quote }}}
    limits: {cpu: {{ $ray.autoscaling.cpu | quote }}, memory: {{ $ray.autoscaling.memory | quote }}}
  securityContext:
    allowPrivilegeEscalation: false
    capabilities: {drop: [ALL]}
{{- end }}
{{- with $ray.gcsFaultTolerance }}{{- if .enabled }}
gcsFaultToleranceOptions:
  redisAddress: {{ required "ray.gcsFaultTolerance.redisAddress: name the Redis for Ray's head, host:port" .redisAddress | quote }}
  {{- if .password.name }}
  redisPassword:
    valueFrom:
      secretKeyRef: {name: {{ .password.name }}, key: {{ .password.key }}}
  {{- end }}
{{- end }}{{- end }}
headGroupSpec:
  serviceType: ClusterIP
  rayStartParams:
    # Actors of the run are pinned to other pods by resources of these. This keeps away whatever else asks for a CPU.
    num-cpus: "0"
    dashboard-host: 0.0.0.0
    {{- include "couplet.startParams" (dict "where" "ray.head" "pool" $ray.head) | nindent 4 }}
  {{- $pod := include "couplet.rayPod" (dict "root" . "component" "head" "pool" $ray.head) }}
  template: {{- include "couplet.checked" (dict "where" "ray.head" "pod" $pod "containers" (list "autoscaler")) | nindent 4 }}
workerGroupSpecs:
  {{- include "couplet.workerGroup" (dict "root" . "name" "learner" "pool" $learner "min" $learner.replicas "max" $learner.replicas "resources" (dict "learner" ($learner.ranksPerPod | toString))) | nindent 2 }}
  {{- if eq $ray.placement "separate" }}
  {{- $min := ternary $rollout.minReplicas $rollout.maxReplicas $ray.autoscaling.enabled }}
  {{- include "couplet.workerGroup" (dict "root" . "name" "rollout" "pool" $rollout "min" $min "max" $rollout.maxReplicas "resources" (dict "rollout" ($rollout.workersPerPod | toString))) | nindent 2 }}
  {{- end }}
  {{- range $name, $given := $ray.extraWorkerGroups }}
  {{- /* Services and budgets choose pods by such names. */}}
  {{- if has $name (list "head" "learner" "rollout" "rewards" "redis" "test") }}{{- fail (printf "ray.extraWorkerGroups: %s is a name of the chart's own; choose another one" $name) }}{{- end }}
  {{- range list "learner" "rollout" "memory" }}
  {{- if hasKey (default dict $given.rayResources) . }}{{- fail (printf "ray.extraWorkerGroups.%s.rayResources: %s would draw actors of the run to this group; choose another name" $name .) }}{{- end }}
  {{- end }}
  {{- $pool := merge (deepCopy $given) (dict "cpu" "4" "memory" "16Gi" "sharedMemory" "4Gi" "minReplicas" 0 "maxReplicas" 1) }}
  {{- include "couplet.workerGroup" (dict "root" $ "name" $name "pool" $pool "min" $pool.minReplicas "max" $pool.maxReplicas "resources" $pool.rayResources) | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* Whether pods of Ray are in their nodes' networks, where no NetworkPolicy can tell them from the nodes. */}}
{{- define "couplet.rayOnNodes" -}}
{{- with .Values.ray -}}
{{- range concat (list .head .learner .rollout) (values (default dict .extraWorkerGroups)) -}}{{- if .hostNetwork -}}true{{- end -}}{{- end -}}
{{- end -}}
{{- end -}}

{{/* How long the cluster of a job that has ended stays: idle GPUs are dear. */}}
{{- define "couplet.ttlSeconds" -}}
{{- if not (kindIs "invalid" .Values.job.ttlSecondsAfterFinished) -}}
{{- .Values.job.ttlSecondsAfterFinished -}}
{{- else -}}
{{- $gpus := false -}}
{{- range concat (list .Values.ray.learner .Values.ray.rollout) (values (default dict .Values.ray.extraWorkerGroups)) -}}
{{- if or .gpusPerPod .resourceClaims -}}{{- $gpus = true -}}{{- end -}}
{{- end -}}
{{- ternary 0 600 $gpus -}}
{{- end -}}
{{- end -}}
