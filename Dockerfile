# docker build -t dseg .                                      on a CPU
# docker build -t dseg --build-arg BASE=nvidia/cuda:12.8.1-runtime-ubuntu24.04 .      with CUDA
# docker run --rm -v "$PWD:/data" dseg infer photos           files are those of the current folder
ARG BASE=python:3.12-slim
FROM ${BASE}
ENV PIP_NO_CACHE_DIR=1 PIP_BREAK_SYSTEM_PACKAGES=1 XDG_CACHE_HOME=/cache
RUN command -v python3 >/dev/null && command -v pip3 >/dev/null || \
    (apt-get update && apt-get install -y --no-install-recommends python3-pip && rm -rf /var/lib/apt/lists/*)
COPY . /src
RUN pip3 install '/src[openvino,video,fast]' && rm -rf /src && mkdir -p /cache && chmod 777 /cache
WORKDIR /data
ENTRYPOINT ["dseg"]
CMD ["--help"]
