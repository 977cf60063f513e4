"""Feature pyramid network (§3.1, Lin et al.); each subnet has one."""

from keras import layers


def feature_pyramid(features, strides, channels, prefix):
    """Top-down pathway with lateral connections: C_i to one smoothed, linear map per level, finest first.

    `features` is a dict C_i -> (B, H/s_i, W/s_i, c_i), finest first, and `strides` a dict C_i -> s_i; neighbours differ
    by a factor of 2, or 1 in dilated backbones. `prefix`, "K" or "P", names the levels and layers. Returns a dict
    prefix_i -> (B, H/s_i, W/s_i, channels).
    """
    merged, above = {}, None
    for name in reversed(features):
        x = layers.Conv2D(channels, 1, name=f"{prefix}{name[1:]}_lateral")(features[name])
        if above is not None:
            ratio, top = strides[above] // strides[name], merged[above]
            if ratio > 1:
                top = layers.UpSampling2D(ratio, interpolation="nearest", name=f"{prefix}{above[1:]}_upsampled")(top)
            x = layers.Add(name=f"{prefix}{name[1:]}_merged")([x, top])
        merged[name] = x
        above = name
    return {
        f"{prefix}{name[1:]}": layers.Conv2D(channels, 3, padding="same", name=f"{prefix}{name[1:]}")(merged[name])
        for name in features
    }
