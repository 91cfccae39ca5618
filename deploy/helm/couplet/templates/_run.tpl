{{/* The run: its recipe, the settings that the chart makes of its own values, and its command. */}}

{{- define "couplet.recipePath" -}}
{{- if kindIs "string" .Values.recipe -}}
/opt/couplet/recipes/{{ .Values.recipe }}
{{- else -}}
/etc/couplet/recipe.yaml
{{- end -}}
{{- end -}}

{{/* GPUs of an actor, as Ray counts them: (list GPUS ACTORS). */}}
{{- define "couplet.share" -}}
{{- $gpus := int (index . 0) -}}{{- $actors := int (index . 1) -}}
{{- if eq (mod $gpus $actors) 0 -}}
{{- div $gpus $actors -}}
{{- else if gt $gpus $actors -}}
{{- fail (printf "gpusPerPod: %d GPUs cannot be shared out to %d actors of a pod; Ray gives whole GPUs, or parts of one" $gpus $actors) -}}
{{- else if ne (mod $actors $gpus) 0 -}}
{{- fail (printf "gpusPerPod: %d actors of a pod cannot share %d GPUs; Ray gives an actor a part of one GPU, so each GPU takes as many actors: set a number of which %d is a multiple" $actors $gpus $actors) -}}
{{- else -}}
{{- divf $gpus $actors -}}
{{- end -}}
{{- end -}}

{{/* GPUs that share the model of a rollout worker, as the recipe in the values or the last override of it says. */}}
{{- define "couplet.tensorParallelSize" -}}
{{- $size := 1 -}}
{{- if not (kindIs "string" .Values.recipe) -}}
{{- $backend := dig "rollout" "backend" (dict) .Values.recipe -}}
{{- if kindIs "map" $backend -}}{{- $size = get $backend "tensor_parallel_size" | default 1 -}}{{- end -}}
{{- end -}}
{{- range .Values.overrides -}}
{{- if hasPrefix "rollout.backend=" . -}}{{- $size = 1 -}}{{- end -}}
{{- end -}}
{{- range .Values.overrides -}}
{{- if hasPrefix "rollout.backend.tensor_parallel_size=" . -}}{{- $size = splitList "=" . | last -}}{{- end -}}
{{- end -}}
{{- int $size -}}
{{- end -}}

{{/* GPUs of a rollout worker: as many as share its model, where some do. */}}
{{- define "couplet.gpusPerWorker" -}}
{{- $rollout := .Values.ray.rollout -}}
{{- $share := include "couplet.share" (list $rollout.gpusPerPod $rollout.workersPerPod) -}}
{{- $size := include "couplet.tensorParallelSize" . -}}
{{- if and (gt (int $size) 1) (not (has $share (list "0" $size))) -}}
{{- fail (printf "ray.rollout.gpusPerPod: rollout.backend.tensor_parallel_size %s takes as many GPUs a worker, and each has %s; set it to %d, or to 0 for CPUs" $size $share (mul $size $rollout.workersPerPod)) -}}
{{- end -}}
{{- $share -}}
{{- end -}}

{{/* section.field=value, a line each: what follows from pools, storage and names. */}}
{{- define "couplet.settings" -}}
{{- $rollout := .Values.ray.rollout -}}{{- $learner := .Values.ray.learner -}}
run.id={{ include "couplet.runId" . }}
run.folder={{ include "couplet.runFolder" . }}
ray.address=auto
streams.url=env:COUPLET_REDIS_URL
telemetry.port=9400
{{- $ranks := mul $learner.replicas $learner.ranksPerPod }}{{- $share := include "couplet.share" (list $learner.gpusPerPod $learner.ranksPerPod) }}
{{- if eq .Values.ray.placement "shared" }}
{{- if not (has $share (list "0" "1")) }}{{- fail (printf "ray.placement: ranks share a whole GPU with a rollout worker each; set ray.learner.gpusPerPod to %v, or to 0 for CPUs" $learner.ranksPerPod) }}{{- end }}
rollout.placement=shared
admission.max_staleness=0
rollout.workers={{ $ranks }}
rollout.gpus_per_worker={{ $share }}
rollout.min_workers=null
rollout.ray_resource=learner
{{- else }}
rollout.workers={{ mul $rollout.maxReplicas $rollout.workersPerPod }}
{{- if .Values.ray.autoscaling.enabled }}
rollout.min_workers={{ mul $rollout.minReplicas $rollout.workersPerPod }}
{{- end }}
rollout.gpus_per_worker={{ include "couplet.gpusPerWorker" . }}
rollout.ray_resource=rollout
{{- end }}
learner.ranks={{ $ranks }}
learner.gpus_per_rank={{ $share }}
learner.ray_resource=learner
reward.workers=0
reward.sandbox_level={{ .Values.rewards.isolation }}
reward.sandbox_slots={{ .Values.rewards.slots }}
{{- end -}}

{{/* JSON list of the user's overrides and the chart's settings; one that would contradict the chart is refused. */}}
{{- define "couplet.overrides" -}}
{{- $settings := include "couplet.settings" . | splitList "\n" -}}
{{- $taken := list "rollout.min_workers" "rollout.placement" -}}
{{- if not (kindIs "string" .Values.recipe) -}}
{{- if ne (dig "rollout" "placement" .Values.ray.placement .Values.recipe) .Values.ray.placement -}}
{{- fail (printf "recipe.rollout.placement: the pools are made for ray.placement %s; leave it out, and set ray.placement" .Values.ray.placement) -}}
{{- end -}}
{{- end -}}
{{- range $settings -}}{{- $taken = append $taken (splitList "=" . | first) -}}{{- end -}}
{{- range .Values.overrides -}}
{{- $field := splitList "=" . | first -}}
{{- if has $field $taken -}}
{{- fail (printf "overrides: %s is set by the chart; leave it out and change the values it comes from (run.id, storage.mountPath, redis, ray.placement, ray.learner, ray.rollout or rewards)" $field) -}}
{{- end -}}
{{- end -}}
{{- concat (default list .Values.overrides) $settings | toJson -}}
{{- end -}}

{{/* The run's command as a shell line, which Linux takes as one argument of 128 KiB at most. */}}
{{- define "couplet.entrypoint" -}}
{{- $line := include "couplet.command" . -}}
{{- if gt (len $line) 131000 -}}{{- fail (printf "overrides: the run's command would have %d bytes, more than a shell takes (131000); write out a recipe" (len $line)) -}}{{- end -}}
{{- $line -}}
{{- end -}}

{{- define "couplet.command" -}}
{{- $words := list "couplet" "train" (include "couplet.recipePath" .) -}}
{{- range include "couplet.overrides" . | fromJsonArray -}}{{- $words = append $words . -}}{{- end -}}
{{- range $i, $word := concat $words (list "--resume" "auto" "--plain") -}}
{{- if $i }} {{ end -}}
{{- if regexMatch "^[A-Za-z0-9_./:=,@%+-]+$" $word -}}{{- $word -}}
{{- else -}}'{{- $word | replace "'" "'\\''" -}}'{{- end -}}
{{- end -}}
{{- end -}}

{{/* What the address of a Redis behind TLS ends with: where pods find its authority. */}}
{{- define "couplet.redisAuthority" -}}
{{- $external := .Values.redis.external -}}
{{- with $external.certificateAuthority -}}
{{- if and (not $.Values.redis.enabled) .name -}}
{{- if and $external.url (not (hasPrefix "rediss://" $external.url)) -}}{{- fail "redis.external.certificateAuthority: redis.external.url is without TLS; begin it with rediss://, or leave the authority out" -}}{{- end -}}
{{ ternary "&" "?" (contains "?" (default "" $external.url)) }}ssl_ca_certs=/etc/couplet-redis/{{ .key }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "couplet.redisMount" -}}
{{- if include "couplet.redisAuthority" . -}}
- {name: redis-authority, mountPath: /etc/couplet-redis, readOnly: true}
{{- end -}}
{{- end -}}

{{- define "couplet.redisVolume" -}}
{{- if include "couplet.redisAuthority" . -}}
- name: redis-authority
  secret: {secretName: {{ .Values.redis.external.certificateAuthority.name }}}
{{- end -}}
{{- end -}}

{{/* Port of the external Redis: of its address where the values have it. */}}
{{- define "couplet.externalRedisPort" -}}
{{- with .Values.redis.external -}}
{{- if .secret.name -}}{{- default 6379 .port -}}
{{- else -}}{{- regexFind ":[0-9]+$" (urlParse .url).host | trimPrefix ":" | default "6379" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Refuse what of `redis.external` contradicts itself. */}}
{{- define "couplet.checkExternalRedis" -}}
{{- with .Values.redis.external -}}
{{- if not (or .url .secret.name) -}}{{- fail "redis.external.url: redis.enabled is false, so give redis.external.url or redis.external.secret" -}}{{- end -}}
{{- if and .url .secret.name -}}{{- fail "redis.external: give url or secret, not both" -}}{{- end -}}
{{- if contains "@" (default "" .url) -}}{{- fail "redis.external.url: names a user or has a password; put the whole address into a Secret, and its name into redis.external.secret.name" -}}{{- end -}}
{{- if and .url .port -}}{{- fail "redis.external.port: it is read from redis.external.url; leave it out" -}}{{- end -}}
{{- $port := include "couplet.externalRedisPort" $ | int -}}
{{- if or (lt $port 1) (gt $port 65535) -}}{{- fail (printf "redis.external.url: %d is no port; give one from 1 to 65535" $port) -}}{{- end -}}
{{- end -}}
{{- end -}}

{{/* Environment that leads to the run's Redis. */}}
{{- define "couplet.redisEnv" -}}
{{- $redis := .Values.redis -}}{{- $authority := include "couplet.redisAuthority" . -}}
{{- if not $redis.enabled -}}{{- include "couplet.checkExternalRedis" . -}}{{- end -}}
{{- if $redis.enabled -}}
- name: COUPLET_REDIS_PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ default (printf "%s-redis" (include "couplet.fullname" .)) $redis.password.name }}, key: {{ $redis.password.key }}}
- name: COUPLET_REDIS_URL
  value: redis://:$(COUPLET_REDIS_PASSWORD)@{{ include "couplet.fullname" . }}-redis:6379/0
{{- else if $redis.external.secret.name -}}
- name: {{ ternary "COUPLET_REDIS_ADDRESS" "COUPLET_REDIS_URL" (ne $authority "") }}
  valueFrom:
    secretKeyRef: {name: {{ $redis.external.secret.name }}, key: {{ $redis.external.secret.key }}}
{{- if $authority }}
- {name: COUPLET_REDIS_URL, value: {{ printf "$(COUPLET_REDIS_ADDRESS)%s" $authority | quote }}}
{{- end }}
{{- else -}}
- name: COUPLET_REDIS_URL
  value: {{ printf "%s%s" $redis.external.url $authority | quote }}
{{- end -}}
{{- end -}}

{{/* The ConfigMap with modules of the user's own, or nothing. */}}
{{- define "couplet.codeConfigMap" -}}
{{- with .Values.code -}}
{{- if and .files .existingConfigMap -}}
{{- fail "code: give files or existingConfigMap, not both" -}}
{{- end -}}
{{- if gt (len (toJson .files)) 1000000 -}}{{- fail (printf "code.files: %d bytes are more than a ConfigMap holds; put them on a volume (code.enabled)" (len (toJson .files))) -}}{{- end -}}
{{- if .files -}}{{ include "couplet.fullname" $ }}-code{{- else -}}{{ .existingConfigMap }}{{- end -}}
{{- end -}}
{{- end -}}

{{- define "couplet.codeEnv" -}}
{{- $paths := list -}}
{{- if or (include "couplet.codeConfigMap" .) .Values.code.enabled -}}{{- $paths = append $paths .Values.code.path -}}{{- end -}}
{{- if .Values.code.packages.install -}}{{- $paths = append $paths "/opt/couplet-packages" -}}{{- end -}}
{{- with $paths -}}
- {name: PYTHONPATH, value: {{ join ":" . | quote }}}
{{- end -}}
{{- end -}}

{{- define "couplet.codeMount" -}}
{{- if include "couplet.codeConfigMap" . }}
- {name: code, mountPath: {{ .Values.code.path | quote }}, readOnly: true}
{{- end }}
{{- if .Values.code.packages.install }}
- {name: packages, mountPath: /opt/couplet-packages, readOnly: true}
{{- end }}
{{- end -}}

{{- define "couplet.codeVolume" -}}
{{- with include "couplet.codeConfigMap" . }}
- name: code
  configMap: {name: {{ . }}}
{{- end }}
{{- if .Values.code.packages.install }}
- name: packages
  emptyDir: {}
- name: packages-tmp
  emptyDir: {}
{{- end }}
{{- end -}}

{{/* Init containers, the one that installs packages before those of the values: they may need none, and it may need theirs.
Of (dict "root" $ "image" IMAGE "security" SECURITY "env" ENV "envFrom" ENVFROM "mounts" MOUNTS "more" CONTAINERS). */}}
{{- define "couplet.initContainers" -}}
{{- with .more }}
{{- . }}
{{- end }}
{{- with .root.Values.code.packages }}{{- if .install }}
{{- if and .wheels .index }}{{- fail "code.packages: give index or wheels, not both" }}{{- end }}
- name: packages
  image: {{ include "couplet.image" (dict "root" $.root "image" $.image) | quote }}
  imagePullPolicy: {{ $.image.pullPolicy }}
  command:
    # The images have no pip of their own, and their base may have none; where venv is, one can be made.
    - sh
    - -c
    - python3 -m venv /tmp/pip && exec /tmp/pip/bin/pip install "$@"
    - pip
    - --no-deps
    - --no-cache-dir
    - --disable-pip-version-check
    - --target=/opt/couplet-packages
    {{- if .wheels }}
    - --no-index
    - {{ printf "--find-links=%s" .wheels | quote }}
    {{- end }}
    {{- with .index }}
    - {{ printf "--index-url=%s" . | quote }}
    {{- end }}
    - --
    {{- range .install }}
    - {{ . | quote }}
    {{- end }}
  env:
    - {name: HOME, value: /tmp}
    {{- with $.env }}
    {{- . | nindent 4 }}
    {{- end }}
  {{- with $.envFrom }}
  envFrom: {{- . | nindent 4 }}
  {{- end }}
  resources:
    requests: {cpu: 500m, memory: 512Mi}
    limits: {cpu: "1", memory: 1Gi}
  securityContext: {{- $.security | nindent 4 }}
  volumeMounts:
    - {name: packages, mountPath: /opt/couplet-packages}
    - {name: packages-tmp, mountPath: /tmp}
    {{- with $.mounts }}
    {{- . | nindent 4 }}
    {{- end }}
{{- end }}{{- end }}
{{- end -}}

{{/* Where a recipe written out in the values lies in pods. */}}
{{- define "couplet.recipeMount" -}}
{{- if not (kindIs "string" .Values.recipe) -}}
- {name: recipe, mountPath: /etc/couplet, readOnly: true}
{{- end -}}
{{- end -}}

{{- define "couplet.recipeVolume" -}}
{{- if not (kindIs "string" .Values.recipe) -}}
- name: recipe
  configMap: {name: {{ include "couplet.fullname" . }}-recipe}
{{- end -}}
{{- end -}}
